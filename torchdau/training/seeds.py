"""Seeds for parts of a training, derived from the global seed."""

import os

import numpy as np


def global_seed() -> int:
    """Return the seed that ``seed_everything`` was given, or 0 if it was not called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def mixed_seed(*numbers: int) -> int:
    """Mix the global seed and some numbers into one seed."""
    return int(np.random.SeedSequence([global_seed(), *numbers]).generate_state(1, np.uint64)[0])
