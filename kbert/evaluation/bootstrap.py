"""Bootstrap intervals: how much a figure would move on other rows of the same kind."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_at_least_1

LEVEL = 0.95
# Row numbers drawn at a time: bounds memory to a few times 32 MB.
_BLOCK_DRAWS = 1 << 22


def resample_rows(
    num_rows: int, *, num_bootstrap: int = 1000, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draw rows with replacement, as many as there are, many times over.

    Args:
        num_rows: number of rows.
        num_bootstrap: number of resamples.
        seed: of the draws.

    Yields:
        int64 (b, num_rows): the rows of the next b resamples, b as memory allows.

    Raises:
        ValueError: `num_rows` or `num_bootstrap` is below 1.
    """
    check_at_least_1("num_rows", num_rows)
    check_at_least_1("num_bootstrap", num_bootstrap)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_DRAWS // num_rows)
    for start in range(0, num_bootstrap, block):
        size = min(block, num_bootstrap - start)
        yield generator.integers(num_rows, size=(size, num_rows))


def percentile_interval(
    samples: np.ndarray, *, level: float = LEVEL
) -> tuple[float, float] | None:
    """Take the interval that holds the middle share of samples.

    Args:
        samples: float array, shape (num_bootstrap,); NaN where a resample left the
            statistic undefined.
        level: share of the samples inside.

    Returns:
        Its lower and upper end; `None` when half of the samples or more are
        undefined.

    Raises:
        ValueError: `level` does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; received {level}.")
    defined = samples[np.isfinite(samples)]
    if 2 * len(defined) <= len(samples):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def describe_figure(
    value: float | None, interval: tuple[float, float] | None
) -> dict[str, Any]:
    """Put a figure and its interval into a form that JSON has.

    Args:
        value: of the figure; NaN or `None` where it is undefined.
        interval: as `percentile_interval` returns it.

    Returns:
        `value`, `low` and `high`; `None` where undefined.
    """
    low, high = interval or (None, None)
    if value is not None:
        value = float(value) if np.isfinite(value) else None
    return {"value": value, "low": low, "high": high}


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    num_rows: int,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Estimate a statistic's interval by the percentile bootstrap.

    Args:
        statistic: takes int64 (b, num_rows), the rows of b resamples, and returns
            float (b,), NaN where it is undefined.
        num_rows: number of rows.
        num_bootstrap: number of resamples.
        seed: of the draws.
        level: share of the resamples inside.

    Returns:
        Lower and upper end; `None` when half of the resamples or more leave the
        statistic undefined.

    Raises:
        ValueError: a number is out of range.

    Source: Efron & Tibshirani (1993), chapter 13.

    Example:
        >>> errors = np.abs(scores - predictions)
        >>> bootstrap_interval(lambda rows: errors[rows].mean(axis=1), len(errors))
    """
    intervals = bootstrap_intervals(
        lambda rows: statistic(rows)[:, None],
        num_rows,
        num_bootstrap=num_bootstrap,
        seed=seed,
        level=level,
    )
    return intervals[0]


def bootstrap_intervals(
    statistics: Callable[[np.ndarray], np.ndarray],
    num_rows: int,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> list[tuple[float, float] | None]:
    """Estimate the intervals of several statistics from the same resamples.

    Args:
        statistics: takes int64 (b, num_rows), the rows of b resamples, and returns
            float (b, num_statistics), NaN where one is undefined.
        num_rows: number of rows.
        num_bootstrap: number of resamples.
        seed: of the draws.
        level: share of the resamples inside.

    Returns:
        For each statistic what `bootstrap_interval` returns.

    Raises:
        ValueError: a number is out of range.
    """
    blocks = resample_rows(num_rows, num_bootstrap=num_bootstrap, seed=seed)
    samples = np.concatenate([statistics(rows) for rows in blocks])
    return [percentile_interval(one, level=level) for one in samples.T]
