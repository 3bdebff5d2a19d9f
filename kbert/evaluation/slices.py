"""Where a model is weak: the same figures on parts of the rows, the worst first."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_at_least_1
from kbert.evaluation.scores import label_losses
from kbert.evaluation.temperature import as_decisions, check_rows

MIN_ROWS = 20
_MAX_VALUES = 10  # numbers with more of them are binned
_Z = 1.959964  # of 95 %
MISSING = "(missing)"


def slice_metrics(
    labels: Any, probabilities: Any, groups: Sequence[Any], *, min_rows: int = MIN_ROWS
) -> list[dict[str, Any]]:
    """Measure a model on each group of rows.

    Args:
        labels: int array-like, shape (n,), class ids; or 0/1, shape (n, num_labels),
            where a row is right if all its labels are.
        probabilities: float array-like, shape (n, num_classes) or (n, num_labels).
        groups: n values: rows of equal ones are a group, `None` one of its own. See
            `group_lengths` and `group_values`.
        min_rows: least rows of a group; smaller ones say too little and are left out.

    Returns:
        For each group, from the least accurate: `group`, `num_examples`, `accuracy`
        (`value`, `low` and `high`: its 95 % interval), `log_loss`, `difference` (from
        the accuracy of all other rows) and `is_worse` (whether the whole interval lies
        below that of the others).

    Raises:
        ValueError: the arrays are not as they should be, there is not one group a row,
            or `min_rows` is below 1.

    Source: Wilson (1927) for the interval, which is right for few rows and shares near
    0 and 1 too, where the bootstrap's has no width.
    """
    labels, probabilities = check_rows(labels, probabilities)
    check_at_least_1("min_rows", min_rows)
    if len(groups) != len(labels):
        raise ValueError(
            "groups must have one value a row; received "
            f"{len(groups):,} for {len(labels):,} rows."
        )
    correct, losses = _judge(labels, probabilities)
    names = np.array([MISSING if g is None else str(g) for g in groups], object)
    rows = []
    for name in dict.fromkeys(names):
        inside = names == name
        if inside.sum() >= min_rows:
            rows.append(_measure(str(name), inside, correct, losses))
    return sorted(rows, key=lambda row: row["accuracy"]["value"])


def group_lengths(
    lengths: Any, *, num_bins: int = 4, unit: str = "tokens"
) -> list[str]:
    """Group rows by length, each group with about as many rows.

    Args:
        lengths: int array-like, shape (n,).
        num_bins: most groups.
        unit: of the lengths, for the names.

    Returns:
        A name a row, such as `12 to 30 tokens`.

    Raises:
        ValueError: `num_bins` is below 1.
    """
    return _bin(np.asarray(lengths), num_bins, unit)


def group_values(values: Sequence[Any], *, num_bins: int = 4) -> list[str]:
    """Group rows by the values of a column.

    Args:
        values: of the column, `None` where one is missing.
        num_bins: most groups of a column of many different numbers, which is cut into
            groups of about as many rows.

    Returns:
        A name a row.

    Raises:
        ValueError: `num_bins` is below 1.
    """
    known = [value for value in values if not _is_missing(value)]
    are_numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in known)
    if not known or not are_numbers or len(set(known)) <= _MAX_VALUES:
        return [MISSING if _is_missing(v) else str(v) for v in values]
    binned = iter(_bin(np.asarray(known), num_bins, ""))
    return [MISSING if _is_missing(v) else next(binned) for v in values]


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _bin(values: np.ndarray, num_bins: int, unit: str) -> list[str]:
    check_at_least_1("num_bins", num_bins)
    if not len(values):
        return []
    cuts = np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1], method="lower")
    bins = np.searchsorted(np.unique(cuts), values, side="left")
    names = {}
    for number in np.unique(bins):
        inside = values[bins == number]
        # No thousands separator: a column may hold years.
        low, high = (f"{end:.6g}" for end in (inside.min(), inside.max()))
        words = low if low == high else f"{low} to {high}"
        names[number] = f"{words} {unit}".strip()
    return [names[number] for number in bins]


def _judge(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return of each row whether it is right, and its log loss."""
    losses = label_losses(*as_decisions(labels, probabilities))
    if labels.ndim == 1:
        return probabilities.argmax(axis=1) == labels, losses
    right = ((probabilities >= 0.5) == labels).all(axis=1)
    return right, losses.reshape(labels.shape).mean(axis=1)


def _measure(
    name: str, inside: np.ndarray, correct: np.ndarray, losses: np.ndarray
) -> dict[str, Any]:
    value, low, high = wilson_interval(int(correct[inside].sum()), int(inside.sum()))
    row = {
        "group": name,
        "num_examples": int(inside.sum()),
        "accuracy": {"value": value, "low": low, "high": high},
        "log_loss": float(losses[inside].mean()),
        "difference": None,
        "is_worse": False,
    }
    if not inside.all():
        others = correct[~inside]
        rest, rest_low, _ = wilson_interval(int(others.sum()), len(others))
        row |= {"difference": value - rest, "is_worse": high < rest_low}
    return row


def wilson_interval(num_right: int, num_rows: int) -> tuple[float, float, float]:
    """Estimate the interval of a share.

    Args:
        num_right: rows that have it.
        num_rows: all rows, at least 1.

    Returns:
        The share, and the lower and upper end of its 95 % interval.

    Source: Wilson (1927).
    """
    share = num_right / num_rows
    squared = _Z**2 / num_rows
    middle = (share + squared / 2) / (1 + squared)
    reach = _Z * np.sqrt((share * (1 - share) + squared / 4) / num_rows) / (1 + squared)
    return share, max(0.0, float(middle - reach)), min(1.0, float(middle + reach))
