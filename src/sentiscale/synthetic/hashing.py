"""Random numbers that are a pure function of their position: the same on every platform and numpy.

Counter-based: there is no state to carry from one row to the next, so any block of rows can be made
alone. numpy's own generators are not used because their distributions may change between versions.
"""

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: neighbouring counters land far apart
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def mix(keys: Keys) -> Keys:
    """Scramble 64-bit integers (the finaliser of splitmix64); works in place and returns `keys`."""
    keys ^= keys >> np.uint64(30)
    keys *= _MULTIPLY_1
    keys ^= keys >> np.uint64(27)
    keys *= _MULTIPLY_2
    keys ^= keys >> np.uint64(31)
    return keys


def derive(keys: Keys, counters: NDArray[np.integer] | int) -> Keys:
    """Independent new keys, one for each pair of key and counter (broadcast); wraps around on overflow."""
    offsets = np.asarray(counters, dtype=np.uint64) * _STEP
    return mix(keys + offsets)


def seed_key(seed: int) -> Keys:
    """The key, shape (1,), that everything of one seed is derived from; any integer is a seed."""
    return mix(np.array([seed & 0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64) + _STEP)


def below(keys: Keys, sizes: NDArray[np.uint64] | int) -> Keys:
    """Map each key to 0 … size - 1 by its upper 32 bits; sizes must be under 2^32."""
    return ((keys >> np.uint64(32)) * np.asarray(sizes, dtype=np.uint64)) >> np.uint64(32)


def happens(keys: Keys, share: float) -> NDArray[np.bool_]:
    """True for about `share` of the keys, by their lower 20 bits (independent of `below`)."""
    return (keys & np.uint64(0xFFFFF)) < np.uint64(round(share * 0x100000))
