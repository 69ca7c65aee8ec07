"""The base class of all tasks: a network, its optimizer and the names of its classes."""

import math
import os
from typing import Any, Literal

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from torchdau.conv import DAUConv2d
from torchdau.optim import optimizer as unit_optimizer
from torchdau.optim import parameter_groups
from torchdau.training.data.loading import TrainingLoader
from torchdau.training.finite import first_not_finite, gradients_not_finite, largest_gradient
from torchdau.training.schedules import TrainingSchedule
from torchdau.training.seeds import mixed_seed


class Task(LightningModule):
    """Training of a network, with separate learning rates for displacements.

    Args:
        network: model to train. For data with classes, its attribute ``num_classes`` must be their number.
        lr: learning rate of all parameters except displacements.
        weight_decay: weight decay. Displacements, sigmas, biases and normalisation layers have none.
        displacement_lr: learning rate of displacements, in pixels per step; see :func:`torchdau.optimizer`.
        displacement_factor: learning rate of displacements as a multiple of ``lr``, the paper's rule. If given,
            displacements follow the optimizer like all other parameters; see :func:`torchdau.parameter_groups`.
            Default: ``displacement_lr`` applies instead.
        optimizer: function that makes the optimizer from parameter groups, which already have their learning rates.
        scheduler: function that makes the learning rate schedule. Default: constant rates. The schedules of
            ``torchdau.training`` span the whole training, as long as the trainer's ``max_epochs`` and ``max_steps``
            allow.
        scheduler_interval: whether the schedule counts epochs or training steps.
        channels_last: whether weights and images have torch.channels_last memory format, which is often faster.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        displacement_lr: float = 0.05,
        displacement_factor: float | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self.classes: list[str] | None = None
        self.lr = lr
        self.weight_decay = weight_decay
        self.displacement_lr = displacement_lr
        self.displacement_factor = displacement_factor
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self._settings: list[tuple[float, float]] = []

    def setup(self, stage: str) -> None:
        """Check the network's number of classes against the data module, if there is one, and keep the class names."""
        if getattr(self.trainer.strategy, "_layer_sync", None) and any(map(_has_activation, self.network.modules())):
            raise ValueError(
                f"sync_batchnorm must be false for {type(self.network).__name__}, whose norms, timm's BatchNormAct2d, "
                "would lose their activations. Give timm.layers.convert_sync_batchnorm(network) instead."
            )
        classes = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
        if classes is None:
            return
        if len(classes) != self.network.num_classes:
            raise ValueError(
                f"num_classes of the network must be {len(classes)}, the number of classes in "
                f"{type(self.trainer.datamodule).__name__}, got num_classes={self.network.num_classes}."  # type: ignore[attr-defined]
            )
        self.classes = list(classes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the class names."""
        checkpoint["classes"] = self.classes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the class names."""
        self.classes = checkpoint.get("classes")

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's output for a batch of images."""
        return self.network(images.contiguous(memory_format=self.memory_format))

    def on_train_start(self) -> None:
        """Tell schedules how long the training is; if it is resumed, follow its own settings."""
        trainer = self.trainer
        if trainer.ckpt_path:
            self._follow_settings()
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, TrainingSchedule) and config.scheduler.total_iters is None:
                total = trainer.estimated_stepping_batches
                if config.interval == "epoch" and math.isfinite(total):
                    total /= math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
                config.scheduler.span(total)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step by its number, so that a resumed training continues with the same random numbers."""
        if "PL_GLOBAL_SEED" in os.environ:
            torch.manual_seed(mixed_seed(self.current_epoch, batch_idx, self.global_rank))
        self._current = batch, batch_idx

    def on_before_backward(self, loss: Tensor) -> None:
        """Stop the training if the loss is not finite."""
        if not loss.isfinite().all():
            images = self._current[0][0]
            self._stop(f"loss must be finite, got {loss.item()}", first_not_finite(self.network, images) or "the loss")

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop the training if gradients are not finite, except if a float16 gradient scaler skips such steps."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is None and not largest_gradient(self.network.parameters()).isfinite():
            self._stop("gradients must be finite, got others", gradients_not_finite(self.network)[0])

    def on_train_batch_end(self, *args: Any) -> None:
        """Clip units to their bounds; with sharded parameters, a forward pass could only clip a copy."""
        for module in self.network.modules():
            if isinstance(module, DAUConv2d):
                module.clip_parameters_()

    def _follow_settings(self) -> None:
        """Give the groups of a checkpoint's optimizer the rates and the decay of this run."""
        for group, (lr, weight_decay) in zip(self.trainer.optimizers[0].param_groups, self._settings, strict=False):
            group["weight_decay"] = weight_decay
            before = group.get("initial_lr", lr)  # with a schedule, which has changed the rate since
            if self.make_scheduler is None:
                group["lr"] = lr
            elif before != lr:
                group["lr"] = lr * group["lr"] / before if before else lr
                group["initial_lr"] = lr
        for config in self.trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]

    def _stop(self, what: str, where: str) -> None:
        number, loader = self._current[1], self.trainer.train_dataloader
        files = ", ".join(loader.files(number)) if isinstance(loader, TrainingLoader) else "files unknown"
        raise FloatingPointError(
            f"{what}, in step {self.global_step} (epoch {self.current_epoch}, batch {number}), at first in {where}. "
            "The weights were not changed by it, and checkpoints from before are kept: resume from one, with a smaller "
            f"lr if the data are as they should be. The batch: {files}."
        )

    def configure_optimizers(self) -> Any:
        """Return the optimizer over the parameter groups, and the schedule if there is one."""
        if self.displacement_factor is None:
            optimizer = unit_optimizer(
                self.network, self.make_optimizer, self.lr, self.weight_decay, self.displacement_lr
            )
        else:
            displacement_lr = self.displacement_factor * self.lr
            optimizer = self.make_optimizer(parameter_groups(self.network, self.lr, self.weight_decay, displacement_lr))
        self._settings = [(group["lr"], group.get("weight_decay", 0.0)) for group in optimizer.param_groups]
        if self.make_scheduler is None:
            return optimizer
        schedule = {"scheduler": self.make_scheduler(optimizer), "interval": self.scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _has_activation(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and hasattr(module, "act")
