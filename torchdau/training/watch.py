"""A callback that watches units during training."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from torchdau.analysis import moved, units_of
from torchdau.analysis.plots import plot_displacements


class WatchUnits(Callback):
    """Callback that logs the state of each layer's units to TensorBoard after each validation.

    Each layer has its values under ``units/LAYER``. ``at_bound`` is the share of units at the bound, and
    ``mean_distance`` their mean distance from the centre in pixels. ``moved`` and ``moved_in_all`` are mean movements
    in pixels, since the last validation and since the training began or was resumed. ``distance`` is a histogram of
    distances, and ``sigma`` one of sigmas if they are learned. The picture ``units`` shows all layers as in Figure 7 of
    the paper. A network without units logs nothing.
    """

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the units at the start."""
        self._start = self._last = units_of(pl_module)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log to each of the trainer's TensorBoard loggers."""
        layers = units_of(pl_module)
        if trainer.sanity_checking or not layers:
            return
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                continue
            board, step = logger.experiment, trainer.global_step
            for layer, last, start in zip(layers, self._last, self._start, strict=True):
                name = f"units/{layer.name.removeprefix('network.')}"
                if not len(layer.weight):
                    continue
                board.add_scalar(f"{name}/at_bound", layer.at_bound.float().mean(), step)
                board.add_scalar(f"{name}/mean_distance", layer.distance.mean(), step)
                board.add_scalar(f"{name}/moved", moved(layer, last).mean(), step)
                board.add_scalar(f"{name}/moved_in_all", moved(layer, start).mean(), step)
                board.add_histogram(f"{name}/distance", layer.distance, step)
                if layer.sigma.unique().numel() > 1:
                    board.add_histogram(f"{name}/sigma", layer.sigma, step)
            board.add_figure("units", plot_displacements(pl_module), step)
        self._last = layers
