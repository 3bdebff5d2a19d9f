"""Which probability is enough: precision, recall and cost at every threshold."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from kbert.evaluation.inputs import check_costs, check_scores

By = Literal["f1", "accuracy", "cost"]
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen.

    Args:
        by: `f1` (the highest), `accuracy` (the highest), `cost` (the least), or the
            threshold itself, in (0, 1).
        cost_false_positive: of calling a row positive that is not, at least 0.
        cost_false_negative: of passing over one that is, in the same unit.

    Raises:
        ValueError: `by` is another word or number, or a cost is negative.
    """

    by: By | float = "f1"
    cost_false_positive: float = 1.0
    cost_false_negative: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no threshold can be chosen by."""
        check_costs(self.cost_false_positive, self.cost_false_negative)
        if self.by in get_args(By):
            return
        is_number = isinstance(self.by, int | float) and not isinstance(self.by, bool)
        if not is_number or not 0 < self.by < 1:  # type: ignore[operator]
            raise ValueError(
                "threshold (--threshold) must be f1, accuracy, cost or a number "
                f"between 0 and 1; received {self.by!r}."
            )

    @property
    def is_fixed(self) -> bool:
        """Whether the threshold is given, and no rows are needed to choose it."""
        return not isinstance(self.by, str)

    @property
    def costs(self) -> dict[str, float]:
        """The costs, as `threshold_curve` takes them."""
        return {
            "cost_false_positive": self.cost_false_positive,
            "cost_false_negative": self.cost_false_negative,
        }

    def choose(self, curve: "ThresholdCurve") -> float:
        """Choose a threshold.

        Args:
            curve: of the rows to choose it by.

        Returns:
            The threshold.
        """
        return float(self.by) if self.is_fixed else curve.choose(self.by)  # type: ignore[arg-type]


def decide(probabilities: Any, thresholds: Any = None) -> np.ndarray:
    """Choose a class, or those of the labels that fit, for each row.

    Args:
        probabilities: float array-like, shape (n, num_classes), or (n, num_labels) of
            independent labels.
        thresholds: of two classes a number, the probability from which a row is of the
            second; of independent labels one for each, (num_labels,), from which a row
            has it; `None` takes the likeliest class.

    Returns:
        int64 (n,), class ids; of independent labels bool (n, num_labels).
    """
    found = np.asarray(probabilities)
    if thresholds is None:
        return found.argmax(axis=1)
    limits = np.asarray(thresholds, found.dtype)
    if limits.ndim == 1:
        return found >= limits
    return (found[:, 1] >= limits).astype(np.int64)


def shift_to_half(probabilities: Any, thresholds: Any = None) -> np.ndarray:
    """Move probabilities, in their order, so that each threshold comes to lie at 0.5.

    What takes the likelier class, or labels from 0.5 upwards, then decides by the
    thresholds.

    Args:
        probabilities: float array-like, shape (n, 2) of two classes, or
            (n, num_labels) of independent labels.
        thresholds: of the second class, a number; or of each label, (num_labels,);
            `None` leaves probabilities as they are.

    Returns:
        float64, the same shape.
    """
    found = np.asarray(probabilities, np.float64)
    if thresholds is None:
        return found
    if np.ndim(thresholds) == 0:
        second = shift_to_half(found[:, 1:], [thresholds])
        return np.concatenate([1 - second, second], axis=1)
    least = np.finfo(np.float64).tiny
    limits = np.asarray(thresholds, np.float64)
    above = 1 - (1 - found) / np.maximum(2 * (1 - limits), least)
    below = found / np.maximum(2 * limits, least)
    return np.where(
        found >= limits,
        np.maximum(above, np.nextafter(0.5, 1)),
        np.minimum(below, np.nextafter(0.5, 0)),
    )


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """What choosing the rows whose probability reaches a threshold comes to.

    Thresholds lie half-way between the probabilities that occur, so that a rounding
    error of the model's changes no decision.

    Args:
        scores: float64 (s,), the probabilities that occur, rising.
        thresholds: float64 (m,), rising: one below every score, and one above all of
            them where there is room.
        precision: float64 (m,); 0 where no row is chosen.
        recall: float64 (m,), falling; 0 where no row is positive.
        f1: float64 (m,).
        accuracy: float64 (m,).
        cost: float64 (m,), mean a row, in the unit of the two costs.
        num_chosen: int64 (m,), rows from the threshold upwards.
    """

    scores: np.ndarray
    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray
    num_chosen: np.ndarray

    def best(self, by: By = "f1") -> int:
        """Find the best threshold.

        Args:
            by: `f1` or `accuracy` for the highest, `cost` for the least.

        Returns:
            Its index; of equally good ones that nearest to 0.5.

        Raises:
            ValueError: `by` is another word.
        """
        if by not in get_args(By):
            raise ValueError(f"by must be 'f1', 'accuracy' or 'cost'; received {by!r}.")
        badness = self.cost if by == "cost" else -getattr(self, by)
        equal = np.flatnonzero(badness <= badness.min() + 1e-12)
        return int(equal[np.abs(self.thresholds[equal] - 0.5).argmin()])

    def choose(self, by: By = "f1") -> float:
        """Choose a threshold: the best one, or 0.5 where there is nothing to choose.

        Args:
            by: as for `best`.

        Returns:
            The threshold; 0.5 where all rows are positive, or none.
        """
        if by == "f1" and self.recall[0] == 0 or self.precision[0] == 1:
            return 0.5
        return float(self.thresholds[self.best(by)])

    def measure(self, threshold: float) -> dict[str, Any]:
        """Return the figures of any threshold.

        Args:
            threshold: from which a row is chosen.

        Returns:
            As `describe`; above every score, accuracy and cost are `None`.
        """
        index = int(np.searchsorted(self.scores, threshold, side="left"))
        if index == len(self.thresholds):  # above the last score, where it is 1
            return {
                "threshold": float(threshold), "precision": 0.0, "recall": 0.0,
                "f1": 0.0, "accuracy": None, "cost": None, "num_chosen": 0,
            }  # fmt: skip
        return {**self.describe(index), "threshold": float(threshold)}

    def describe(self, index: int) -> dict[str, Any]:
        """Return the figures of a threshold as plain numbers.

        Args:
            index: of the threshold.

        Returns:
            `threshold`, `precision`, `recall`, `f1`, `accuracy`, `cost` and
            `num_chosen`.
        """
        return {
            "threshold": float(self.thresholds[index]),
            "precision": float(self.precision[index]),
            "recall": float(self.recall[index]),
            "f1": float(self.f1[index]),
            "accuracy": float(self.accuracy[index]),
            "cost": float(self.cost[index]),
            "num_chosen": int(self.num_chosen[index]),
        }


def threshold_curve(
    labels: Any,
    scores: Any,
    *,
    cost_false_positive: float = 1.0,
    cost_false_negative: float = 1.0,
) -> ThresholdCurve:
    """Compute precision, recall, F1 and cost at every threshold that differs.

    Args:
        labels: bool or 0/1 array-like, shape (n,): whether the row is positive.
        scores: float array-like, shape (n,), in [0, 1]: its probability.
        cost_false_positive: of choosing a row that is not positive, at least 0.
        cost_false_negative: of passing over one that is, in the same unit.

    Returns:
        The curve.

    Raises:
        ValueError: the arrays are not as they should be, or a cost is negative.

    Example:
        >>> curve = threshold_curve(labels == 1, probabilities[:, 1],
        ...                         cost_false_negative=10)
        >>> curve.describe(curve.best("cost"))
    """
    positive, found = check_scores(labels, scores)
    check_costs(cost_false_positive, cost_false_negative)
    distinct, places = np.unique(found, return_inverse=True)
    hits = _count_from(places, positive, len(distinct))
    chosen = _count_from(places, np.ones(len(found)), len(distinct))
    thresholds = (distinct + np.r_[0.0, distinct[:-1]]) / 2
    if distinct[-1] < 1:
        thresholds = np.r_[thresholds, (distinct[-1] + 1) / 2]
    else:
        hits, chosen = hits[:-1], chosen[:-1]
    num_positive = positive.sum()
    false_positives, false_negatives = chosen - hits, num_positive - hits
    costs = cost_false_positive * false_positives
    costs = costs + cost_false_negative * false_negatives
    return ThresholdCurve(
        scores=distinct,
        thresholds=thresholds,
        precision=_divide(hits, chosen),
        recall=_divide(hits, np.full(len(hits), num_positive)),
        f1=_divide(2 * hits, chosen + num_positive),
        accuracy=1 - (false_positives + false_negatives) / len(found),
        cost=costs / len(found),
        num_chosen=chosen.astype(np.int64),
    )


def _count_from(places: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Sum up weights from each score upwards; behind the last stands 0."""
    sums = np.bincount(places.ravel(), weights, size)
    return np.r_[np.cumsum(sums[::-1])[::-1], 0.0]


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.zeros(len(numerator))
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
