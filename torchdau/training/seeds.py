"""Seeds for parts of a training, made from the seed of all."""

import os

import numpy as np


def global_seed() -> int:
    """What ``seed_everything`` was given; 0 where it was not called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def mixed_seed(*numbers: int) -> int:
    """One seed out of the global one and some numbers."""
    return int(np.random.SeedSequence([global_seed(), *numbers]).generate_state(1, np.uint64)[0])
