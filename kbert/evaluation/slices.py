"""Where a model is weak: the same figures on parts of the rows, the worst first."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from kbert.evaluation.inputs import check_at_least_1
from kbert.evaluation.scores import label_losses
from kbert.evaluation.temperature import as_decisions, check_rows
from kbert.evaluation.thresholds import shift_to_half

MIN_ROWS = 20
_MAX_VALUES = 10  # numbers with more of them are binned
_Z = 1.959964  # of 95 %
MISSING = "(missing)"


def slice_metrics(
    labels: Any,
    probabilities: Any,
    groups: Sequence[Any],
    *,
    thresholds: Any = None,
    min_rows: int = MIN_ROWS,
) -> list[dict[str, Any]]:
    """Measure a classifier on each group of rows.

    Args:
        labels: int array-like, shape (n,), class ids; or 0/1, shape (n, num_labels),
            where a row is right if all its labels are.
        probabilities: float array-like, shape (n, num_classes) or (n, num_labels).
        groups: n values: rows of equal ones are a group, `None` one of its own. See
            `group_lengths` and `group_values`.
        thresholds: of two classes, the probability from which a row is of the second;
            of independent labels, that of each; `None` takes the likelier, or 0.5.
        min_rows: least rows of a group; smaller ones say too little and are left out.

    Returns:
        For each group, from the least accurate: `group`, `num_examples`, `accuracy`
        (`value`, `low` and `high`: its 95 % interval), `log_loss`, `difference` (from
        the accuracy of all other rows) and `is_worse` (whether the whole interval lies
        below that of the others).

    Raises:
        ValueError: the arrays are not as they should be, there is not one group a row,
            or `min_rows` is below 1.
    """
    labels, probabilities = check_rows(labels, probabilities)
    correct = _find_right(labels, shift_to_half(probabilities, thresholds))
    found = slice_shares("accuracy", correct, groups, min_rows=min_rows)
    losses = label_losses(*as_decisions(labels, probabilities))
    losses = losses.reshape(len(labels), -1).mean(axis=1)
    names = _name_groups(groups)
    for row in found:
        row["log_loss"] = float(losses[names == row["group"]].mean())
    return found


def slice_shares(
    figure: str,
    hits: Any,
    groups: Sequence[Any],
    *,
    cases: Any = None,
    min_rows: int = MIN_ROWS,
) -> list[dict[str, Any]]:
    """Measure a share on each group of rows, such as that of the rows that are right.

    Args:
        figure: name of the share.
        hits: float array-like, shape (n,): what each row adds to the hits.
        groups: as for `slice_metrics`.
        cases: float array-like, shape (n,): cases of each row; `None`: one.
        min_rows: least cases of a group; smaller ones say too little and are left out.

    Returns:
        For each group, from the lowest: `group`, `num_examples` (rows), the figure
        under its name (`value`, `low` and `high`: its 95 % interval), `difference`
        (from that of all other rows) and `is_worse` (whether the whole interval lies
        below that of the others).

    Raises:
        ValueError: there is not one group a row, or `min_rows` is below 1.

    Source: Wilson (1927) for the interval, which is right for few rows and shares near
    0 and 1 too, where the bootstrap's has no width. Cases are taken to be independent.
    """
    hits = np.asarray(hits, np.float64)
    cases = np.ones(len(hits)) if cases is None else np.asarray(cases, np.float64)

    def measure(rows: np.ndarray) -> tuple[float, float, float]:
        return wilson_interval(hits[rows].sum(), cases[rows].sum())

    found = _slice(figure, measure, groups, cases, min_rows)
    return sorted(found, key=lambda row: row[figure]["value"])


def slice_errors(
    figure: str, errors: Any, groups: Sequence[Any], *, min_rows: int = MIN_ROWS
) -> list[dict[str, Any]]:
    """Measure a mean error on each group of rows.

    Args:
        figure: name of the mean.
        errors: float array-like, shape (n,), of each row, in any unit.
        groups: as for `slice_metrics`.
        min_rows: least rows of a group.

    Returns:
        As `slice_shares`, from the largest error; `is_worse` is whether the whole
        interval lies above that of the others. The interval is the normal one of a
        mean.

    Raises:
        ValueError: there is not one group a row, or `min_rows` is below 1.
    """
    errors = np.asarray(errors, np.float64)

    def measure(rows: np.ndarray) -> tuple[float, float, float]:
        own = errors[rows]
        mean = float(own.mean())
        reach = _Z * float(own.std(ddof=1)) / len(own) ** 0.5 if len(own) > 1 else mean
        return mean, max(0.0, mean - reach), mean + reach

    found = _slice(figure, measure, groups, np.ones(len(errors)), min_rows, -1)
    return sorted(found, key=lambda row: -row[figure]["value"])


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


def _find_right(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    if labels.ndim == 1:
        return probabilities.argmax(axis=1) == labels
    return ((probabilities >= 0.5) == labels).all(axis=1)


def _name_groups(groups: Sequence[Any]) -> np.ndarray:
    return np.array([MISSING if g is None else str(g) for g in groups], object)


def _slice(
    figure: str,
    measure: Callable[[np.ndarray], tuple[float, float, float]],
    groups: Sequence[Any],
    cases: np.ndarray,
    min_rows: int,
    sign: int = 1,
) -> list[dict[str, Any]]:
    """Measure each group that has enough cases; `sign` is -1 where less is better."""
    check_at_least_1("min_rows", min_rows)
    if len(groups) != len(cases):
        raise ValueError(
            "groups must have one value a row; received "
            f"{len(groups):,} for {len(cases):,} rows."
        )
    names = _name_groups(groups)
    found = []
    for name in dict.fromkeys(names):
        inside = names == name
        if cases[inside].sum() < min_rows:
            continue
        value, low, high = measure(inside)
        row: dict[str, Any] = {
            "group": str(name),
            "num_examples": int(inside.sum()),
            figure: {"value": value, "low": low, "high": high},
            "difference": None,
            "is_worse": False,
        }
        if cases[~inside].sum() > 0:
            rest, rest_low, rest_high = measure(~inside)
            is_worse = high < rest_low if sign > 0 else low > rest_high
            row |= {"difference": value - rest, "is_worse": is_worse}
        found.append(row)
    return found


def wilson_interval(num_right: float, num_rows: float) -> tuple[float, float, float]:
    """Estimate the interval of a share.

    Args:
        num_right: rows that have it; of rows that have it in part, their sum.
        num_rows: all rows, above 0.

    Returns:
        The share, and the lower and upper end of its 95 % interval.

    Source: Wilson (1927).
    """
    share = float(num_right / num_rows)
    squared = _Z**2 / num_rows
    middle = (share + squared / 2) / (1 + squared)
    reach = _Z * np.sqrt((share * (1 - share) + squared / 4) / num_rows) / (1 + squared)
    return share, max(0.0, float(middle - reach)), min(1.0, float(middle + reach))
