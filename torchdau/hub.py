"""Models with unit layers on the Hugging Face Hub or in a folder.

This module imports huggingface_hub, so no other module imports it.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE

from torchdau.saving import load_model, save_model


class DAUModelHubMixin(PyTorchModelHubMixin, library_name="torchdau", tags=["displaced-aggregation-units"]):
    """A mixin that adds ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` to converted or pruned models.

    ``from_pretrained`` creates the model with its original arguments, restores the unit layers of the saved model, and
    loads the weights. Like the Hub's own mixin, it returns the model in evaluation mode. Folders need no network
    connection.

    Reference:
        https://huggingface.co/docs/huggingface_hub/package_reference/mixins

    Example:
        >>> from torchdau.hub import DAUModelHubMixin
        >>> class Net(nn.Module, DAUModelHubMixin):
        ...     def __init__(self, width: int):
        ...         super().__init__()
        ...         self.conv = nn.Conv2d(3, width, 3, padding=1)
        >>> folder = getfixture("tmp_path") / "net"
        >>> torchdau.convert_(Net(width=8)).save_pretrained(folder)
        >>> net = Net.from_pretrained(folder)
        Loading weights from local directory
        >>> net.conv
        DAUConv2d(3, 8, num_units=2)
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self, save_directory / SAFETENSORS_SINGLE_FILE)  # type: ignore[arg-type]  # it is mixed into a Module

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        return load_model(model_file, model).to(map_location).eval()
