"""What says how far to trust a model, as a report shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Of more labels those with the most rows are shown with their curves.
MAX_THRESHOLDS = 20
# For plots only: predictions remake them.
_NOT_WRITTEN = {"labels", "probabilities", "probabilities_before"}


@dataclass(kw_only=True)
class Trust:
    """Figures beside the metrics; `assess` makes them.

    Args:
        split: name of the part that the figures are of.
        num_examples: its rows.
        fitted_on: name of the part that temperature and thresholds were fitted on, or
            `None`.
        labels: int (n,) class ids, or 0/1 (n, num_labels); `None` for other tasks.
        probabilities: float, of the model as it is now, calibrated if it could be.
        probabilities_before: before calibration; `None` where there was none.
        calibration: `temperature`, and `before` and `after`, each with
            `expected_calibration_error` and `log_loss`; `None` where there was none.
        thresholds: of the positive class of two, or of each label: `label_name`, `by`,
            `cost_false_positive`, `cost_false_negative`, `threshold`, `is_used`
            (whether the model decides by it), and, as `ThresholdCurve.describe` has
            them, `chosen` and `half` (of the threshold 0.5) on `split` and `points` (a
            curve) on `fitted_on`.
        slices: `name`, `figure` (what groups are compared by), `groups` (as
            `slice_shares` returns them) and `num_left_out` (rows of groups too small).
        confusions: as `find_confusions` or `find_entity_confusions` returns them.
        explanations: of mistakes: `row`, `label_name` and `Explanation.to_json`.
        baseline: as `compare_with_baseline` returns it, or `None`.
        notes: sentences on what is missing, and why.
    """

    split: str
    num_examples: int
    fitted_on: str | None = None
    labels: Any = None
    probabilities: Any = None
    probabilities_before: Any = None
    calibration: Mapping[str, Any] | None = None
    thresholds: Sequence[Mapping[str, Any]] = ()
    slices: Sequence[Mapping[str, Any]] = ()
    confusions: Sequence[Mapping[str, Any]] = ()
    explanations: Sequence[Mapping[str, Any]] = ()
    baseline: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()

    @property
    def shown_thresholds(self) -> list[Mapping[str, Any]]:
        """`thresholds`; of many labels those with the most rows here, the first first.

        Hundreds of tables and curves would be megabytes that nobody reads.
        """
        found = list(self.thresholds)
        if len(found) <= MAX_THRESHOLDS:
            return found
        counts = np.zeros(len(found))
        if np.ndim(self.labels) == 2:
            counts = np.asarray(self.labels).sum(axis=0)
        order = np.argsort(-counts, kind="stable")[:MAX_THRESHOLDS]
        return [found[label] for label in order]

    @property
    def warning(self) -> str | None:
        """The sentence that a report begins with: the baseline is not beaten."""
        if self.baseline is None or self.baseline["verdict"] == "better":
            return None
        return self.baseline["sentence"]

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, without the arrays.

        Returns:
            Plain values, and `warning`. Of `thresholds` only those shown have `points`.
        """
        written = {k: v for k, v in vars(self).items() if k not in _NOT_WRITTEN}
        shown = {id(one) for one in self.shown_thresholds}
        written["thresholds"] = [
            one if id(one) in shown else {**one, "points": []}
            for one in self.thresholds
        ]
        return {"warning": self.warning, **written}
