"""What a training logged, read from the folder of its checkpoint."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_scalars(checkpoint: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's logger wrote of the training that made a checkpoint.

    Args:
        checkpoint: a file in the folder ``checkpoints`` beside the logs, as ``torchdau fit`` leaves it.

    Returns:
        By name, pairs of a training step and a value; learning rates, the number of the epoch and what
        :class:`~torchdau.training.WatchUnits` logs of single layers are left out. Empty where there are no logs.
    """
    folder = checkpoint.absolute().parent.parent
    if not list(folder.glob("events.out.tfevents.*")):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 500}).Reload()
    names = [name for name in events.Tags()["scalars"] if name != "epoch" and not name.startswith(("lr-", "units/"))]
    steps = {name: {event.step: event.value for event in events.Scalars(name)} for name in names}  # twice where resumed
    return {name: sorted(values.items()) for name, values in steps.items()}
