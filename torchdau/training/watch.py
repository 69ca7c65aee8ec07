"""Watching units while they are trained."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from torchdau.analysis import moved, units_of
from torchdau.analysis.plots import plot_displacements


class WatchUnits(Callback):
    """Logs to TensorBoard, after each validation, where the units of each layer stand.

    For each layer, under ``units/LAYER``: the share of units that sit at the bound, the mean distance from the centre,
    how far units moved since the last validation and since the training began or was resumed, in the mean and in
    pixels, histograms of distances, and of sigmas where they are learned. And a picture, of all layers: Figure 7 of the
    paper. A network without units logs nothing.
    """

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers where the units are."""
        self._start = self._last = units_of(pl_module)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs to each of the trainer's TensorBoard loggers."""
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
