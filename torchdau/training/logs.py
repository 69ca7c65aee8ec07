"""Values that a training logged, read from the folder of its checkpoint."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_scalars(checkpoint: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars that TensorBoard's logger wrote during the training of a checkpoint.

    Args:
        checkpoint: file in the folder ``checkpoints`` beside the logs, as ``torchdau fit`` leaves it.

    Returns:
        Pairs of a training step and a value by name; empty if there are no logs. Learning rates, the epoch number and
        the layer values of :class:`~torchdau.training.WatchUnits` are left out.
    """
    folder = checkpoint.absolute().parent.parent
    if not list(folder.glob("events.out.tfevents.*")):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 500}).Reload()
    names = [name for name in events.Tags()["scalars"] if name != "epoch" and not name.startswith(("lr-", "units/"))]
    steps = {name: {event.step: event.value for event in events.Scalars(name)} for name in names}  # resumed: twice
    return {name: sorted(values.items()) for name, values in steps.items()}
