"""Check labels and probabilities once, at the door."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Probabilities computed in bfloat16 keep 8 bits: a row of them may be this far off 1.
SUM_TOLERANCE = 0.01
# Rows this near to 1 are off by float32's rounding only and stay as they are: scaling
# them would order scores that are equal.
_ROUNDING = 1e-6


def check_labels(labels: Any, num_classes: int) -> np.ndarray:
    """Check class ids.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        num_classes: number of classes.

    Returns:
        int64 (n,).

    Raises:
        ValueError: they have another shape, are no whole numbers, are out of range, or
            there are none.
    """
    found = np.asarray(labels)
    if found.ndim != 1:
        raise ValueError(
            "labels must be one class id a row, shape (n,); received shape "
            f"{found.shape}. Take the argmax of one-hot labels."
        )
    if not len(found):
        raise ValueError("labels are empty. Pass at least one row to evaluate.")
    if found.dtype.kind not in "iub":
        raise ValueError(
            f"labels must be class ids (whole numbers); received dtype {found.dtype}. "
            "Pass the ids, not the names or scores."
        )
    outside = np.flatnonzero((found < 0) | (found >= num_classes))
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"labels must lie in [0, {num_classes}); row {row} has {int(found[row])}. "
            "Fix the row, or pass probabilities of more classes."
        )
    return found.astype(np.int64)


def check_probabilities(probabilities: Any) -> np.ndarray:
    """Check class probabilities and make each row sum to 1, but for rounding.

    Args:
        probabilities: float array-like, shape (n, num_classes), num_classes at least
            2; each row sums to 1, give or take 0.01 for low-precision arithmetic.

    Returns:
        float64 (n, num_classes).

    Raises:
        ValueError: they have another shape, are negative, not finite, or a row does
            not sum to 1.
    """
    found = np.asarray(probabilities)
    if found.ndim != 2 or found.shape[1] < 2:
        raise ValueError(
            "probabilities must have shape (n, num_classes) with two classes or more; "
            f"received shape {found.shape}. For one score p a row, pass [1 - p, p]."
        )
    if found.dtype.kind not in "fiub":
        raise ValueError(
            f"probabilities must be numbers; received dtype {found.dtype}. "
            "Pass what model.predict returns."
        )
    found = found.astype(np.float64)
    sums = found.sum(axis=1)
    # A NaN is in no range, so the test is for rows that are right.
    right = (found >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE)
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise ValueError(
            "probabilities must be at least 0 and sum to 1 in every row; row "
            f"{row} is {_show(found[row])}. Pass softmax outputs, not logits."
        )
    scales = np.where(np.abs(sums - 1) <= _ROUNDING, 1.0, sums)
    return found / scales[:, None]


def check_pair(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and the probabilities of the same rows.

    Args:
        labels: int array-like, shape (n,), values in [0, num_classes).
        probabilities: float array-like, shape (n, num_classes), rows that sum to 1.

    Returns:
        int64 (n,) and float64 (n, num_classes).

    Raises:
        ValueError: one of them is not as it should be, or their lengths differ.
    """
    checked = check_probabilities(probabilities)
    ids = check_labels(labels, checked.shape[1])
    if len(ids) != len(checked):
        raise ValueError(
            "labels and probabilities must have the same number of rows; received "
            f"{len(ids):,} and {len(checked):,}."
        )
    return ids, checked


def check_flags(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check independent labels and the probabilities of the same rows.

    Args:
        labels: bool or 0/1 array-like, shape (n, num_labels).
        probabilities: float array-like, shape (n, num_labels), in [0, 1].

    Returns:
        int64 and float64, (n, num_labels) both.

    Raises:
        ValueError: one of them is not as it should be, or their shapes differ.
    """
    flags, found = np.asarray(labels), np.asarray(probabilities)
    if flags.shape != found.shape or flags.ndim != 2 or not flags.size:
        raise ValueError(
            "labels and probabilities of independent labels must have one shape, "
            f"(n, num_labels); received {flags.shape} and {found.shape}."
        )
    if not np.isin(flags, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(flags, (0, 1)).all(axis=1))[0])
        raise ValueError(
            f"independent labels must be 0 or 1; row {row} is {_show(flags[row])}."
        )
    return flags.astype(np.int64), _check_shares("probabilities", found)


def check_scores(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check whether rows are positive, and the probability that they are.

    Args:
        labels: bool or 0/1 array-like, shape (n,).
        scores: float array-like, shape (n,), in [0, 1].

    Returns:
        bool (n,) and float64 (n,).

    Raises:
        ValueError: one of them is not as it should be, or their lengths differ.
    """
    flags, found = np.asarray(labels), np.asarray(scores)
    if flags.ndim != 1 or flags.shape != found.shape or not flags.size:
        raise ValueError(
            "labels and scores must be one value a row, shape (n,); received "
            f"{flags.shape} and {found.shape}."
        )
    if not np.isin(flags, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(flags, (0, 1)))[0])
        raise ValueError(f"labels must be 0 or 1; row {row} has {flags[row]}.")
    return flags.astype(bool), _check_shares("scores", found)


def _check_shares(name: str, found: np.ndarray) -> np.ndarray:
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers; received dtype {found.dtype}.")
    found = found.astype(np.float64)
    right = (found >= 0) & (found <= 1)
    if not right.all():
        place = np.argwhere(~right)[0]
        raise ValueError(
            f"{name} must lie in [0, 1]; row {place[0]} has {found[tuple(place)]:g}. "
            "Pass what model.predict returns, not logits."
        )
    return found


def check_costs(cost_false_positive: float, cost_false_negative: float) -> None:
    """Refuse costs that no decision could have.

    Args:
        cost_false_positive: of choosing a row that is not positive.
        cost_false_negative: of passing over one that is.

    Raises:
        ValueError: one is negative or no number, or both are 0.
    """
    for name, value in (
        ("cost_false_positive", cost_false_positive),
        ("cost_false_negative", cost_false_negative),
    ):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be at least 0; received {value}.")
    if cost_false_positive == cost_false_negative == 0:
        raise ValueError("one of the two costs must be above 0; both are 0.")


def check_label_names(label_names: Sequence[str], num_classes: int) -> list[str]:
    """Check that there is one name a class.

    Args:
        label_names: class names in id order.
        num_classes: number of classes.

    Returns:
        The names.

    Raises:
        ValueError: there are fewer or more names than classes.
    """
    names = [str(name) for name in label_names]
    if len(names) != num_classes:
        raise ValueError(
            f"label_names must name all {num_classes} classes; received "
            f"{len(names)}: {', '.join(names[:5])}."
        )
    return names


def check_at_least_1(name: str, value: int) -> None:
    """Refuse a count below 1.

    Args:
        name: of the argument.
        value: received.

    Raises:
        ValueError: it is below 1.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1; received {value}.")


def _show(row: np.ndarray) -> str:
    """Write out the beginning of a row."""
    shown = ", ".join(f"{value:.4g}" for value in row[:4])
    return f"[{shown}{', ...' if len(row) > 4 else ''}]"
