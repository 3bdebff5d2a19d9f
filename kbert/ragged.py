"""Rows of different lengths in flat arrays: their positions."""

import numpy as np


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return `starts[0], starts[0] + 1, ...` for `lengths[0]` values, and so on."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Return where rows of these lengths start, and the end of the last, int64."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
