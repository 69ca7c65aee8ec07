"""Lightning's interface to checkpoint files."""

from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from torchdau.training.checkpoints import read_checkpoint, write_checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's interface to files, by :func:`write_checkpoint` and :func:`read_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint, which never holds more than tensors and plain values."""
        return read_checkpoint(path)
