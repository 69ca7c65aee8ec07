"""Tables of metrics that go on where a training is resumed."""

import csv
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from torchdau.whole import whole_file


class CSVLogger(loggers.CSVLogger):
    """Lightning's logger of ``metrics.csv``. A resumed run appends to its table; Lightning's would delete it.

    Args:
        save_dir: folder of all runs. ``torchdau fit`` sets it to ``trainer.default_root_dir``.
        name: folder inside of it.
        version: folder of this run. Default: a new one.
        prefix: text before the names of metrics.
        flush_logs_every_n_steps: number of steps between two writes.
    """

    @property
    def experiment(self) -> Any:
        """The writer of the table."""
        if self._experiment is not None:
            return self._experiment
        table = Path(self.log_dir, ExperimentWriter.NAME_METRICS_FILE)
        before = table.read_text() if table.is_file() else ""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Experiment logs directory")
            if not before or rank_zero_only.rank:  # type: ignore[attr-defined]  # other processes have no table
                return super().experiment
            with whole_file(table) as part:
                part.write_text(before)
                writer: Any = super().experiment  # deletes the table
        writer.metrics_keys = next(csv.reader(before.splitlines()))
        return writer
