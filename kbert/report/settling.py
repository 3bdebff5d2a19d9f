"""What is settled after training, on validation rows: temperature and thresholds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kbert import evaluation
from kbert.evaluation import ThresholdRule
from kbert.evaluation.temperature import check_rows, find_last_dense
from kbert.report.trust import Trust
from kbert.writing import undisturbed

if TYPE_CHECKING:  # tasks bring pyarrow and tokenizers, which a report does without
    from kbert.data import Split, Splits
    from kbert.models import Model
    from kbert.tasks import Task

Found = TypeVar("Found")
# Enough for a curve; every threshold of a large part would be megabytes.
_MAX_POINTS = 200


@dataclass(frozen=True)
class Work:
    """What is measured: a model, on a part."""

    model: "Model"
    splits: "Splits"
    task: "Task"
    name: str
    part: "Split"
    batch_size: int

    @property
    def names(self) -> list[str]:
        """Names of the labels."""
        known = self.model.label_names or self.splits.label_names
        return [str(name) for name in known]

    def predict(self, part: "Split") -> Any:
        """Predict a part."""
        return self.task.predict(self.model, part, batch_size=self.batch_size)


def find_work(model: "Model", splits: "Splits", batch_size: int) -> Work:
    """Find what a model is measured on, and as a model of which task.

    Args:
        model: trained.
        splits: what it was trained on.
        batch_size: texts a batch.

    Returns:
        The model, its task and the part.

    Raises:
        ValueError: there are no labelled rows to measure on.
    """
    from kbert.tasks import find_task

    name, part = evaluation.find_measured_part(splits)
    task = model.task
    if task is None:
        task = "multilabel" if np.ndim(part.labels) == 2 else "classify"
    return Work(model, splits, find_task(task), name, part, batch_size)


def attempt(notes: list[str], what: str, find: Callable[[], Found]) -> Found | None:
    """Do what a report can be without: a failure becomes a note.

    Args:
        notes: of the report; the failure is added.
        what: to be missing, as a sentence begins that says so.
        find: does it.

    Returns:
        What was found; `None` after a failure.
    """
    try:
        return find()
    except Exception as error:  # whatever it is, it must not cost the trained model
        why = " ".join(str(error).split())
        if not isinstance(error, ValueError) or not why:
            why = f"{type(error).__name__}: {why}".rstrip(": ") + "."
        notes.append(f"{what}: {why}")
        return None


def settle(
    model: "Model",
    splits: "Splits",
    *,
    calibrate: bool = True,
    threshold: ThresholdRule | None = None,
    batch_size: int = 32,
) -> Trust:
    """Calibrate a trained model, and choose its thresholds.

    See `assess`, whose first half this is.

    Args:
        model: trained; of labels it is changed, of other tasks it stays as it is.
        splits: what it was trained on.
        calibrate: whether to build a temperature into it.
        threshold: how thresholds are chosen.
        batch_size: texts a batch.

    Returns:
        What was settled; of labels with the probabilities of the measured part.

    Raises:
        ValueError: there are no labelled rows to measure on, or the predictions are
            none of the task's.
    """
    work = find_work(model, splits, batch_size)
    trust = Trust(split=work.name, num_examples=len(work.part))
    if work.task.judge.has_probabilities:
        before = np.asarray(work.predict(work.part))
        trust.labels, trust.probabilities = check_rows(work.part.labels, before)
        trust.notes = []
        _fit(work, trust, trust.notes, calibrate, threshold)
    return trust


def _fit(
    work: Work,
    trust: Trust,
    notes: list[str],
    calibrate: bool,
    threshold: ThresholdRule | None,
) -> None:
    """Fit temperature and thresholds, and measure what they change."""
    validation = work.splits.validation
    if validation is None or validation.labels is None:
        notes.append(
            "There is no validation part to fit a temperature and thresholds on."
        )
        return
    trust.fitted_on = "validation"
    fitted = np.asarray(trust.probabilities)
    if work.name == "validation":
        notes.append(
            "There is no test part: temperature and thresholds are measured on the "
            "rows they were fitted on, which flatters them a little."
        )
    else:
        fitted = np.asarray(work.predict(validation))
    if calibrate:
        what = "The model is not calibrated"
        scaled = attempt(notes, what, lambda: _calibrate(work, trust, fitted))
        fitted = fitted if scaled is None else scaled
    chosen = attempt(
        notes, "There is no threshold", lambda: _choose(work, trust, fitted, threshold)
    )
    trust.thresholds = chosen or []
    with undisturbed():  # thresholds are those of the calibrated probabilities
        _keep(work.model, trust)


def _keep(model: "Model", trust: Trust) -> None:
    """Change a model as was found out."""
    if trust.calibration is not None:
        evaluation.fold_temperature(model, trust.calibration["temperature"])
    if trust.thresholds and trust.thresholds[0]["is_used"]:
        limits = [one["threshold"] for one in trust.thresholds]
        if trust.labels.ndim == 2:
            model.metadata["thresholds"] = limits
        else:
            model.metadata["threshold"] = limits[0]


def _calibrate(work: Work, trust: Trust, fitted: np.ndarray) -> np.ndarray:
    """Fit a temperature; return the validation part's probabilities with it."""
    assert work.splits.validation is not None
    find_last_dense(work.model)  # refuses a model that it cannot be built into
    independent = trust.labels.ndim == 2
    before = trust.probabilities
    temperature = evaluation.fit_temperature(work.splits.validation.labels, fitted)
    trust.probabilities_before = before
    trust.probabilities = evaluation.scale_probabilities(
        before, temperature, independent=independent
    )
    trust.calibration = {
        "temperature": temperature,
        "before": evaluation.measure_calibration(trust.labels, before),
        "after": evaluation.measure_calibration(trust.labels, trust.probabilities),
    }
    return evaluation.scale_probabilities(fitted, temperature, independent=independent)


def _choose(
    work: Work, trust: Trust, fitted: np.ndarray, threshold: ThresholdRule | None
) -> list[dict[str, Any]]:
    """Choose the threshold of the second of two classes, or of each label."""
    assert work.splits.validation is not None
    labels = np.asarray(work.splits.validation.labels)
    if labels.ndim == 1 and fitted.shape[1] != 2:
        return []
    rule = threshold or ThresholdRule()
    columns = range(fitted.shape[1]) if labels.ndim == 2 else [1]
    found = []
    for column in columns:
        curve, shown = (
            evaluation.threshold_curve(
                one[:, column] if one.ndim == 2 else one == column,
                probabilities[:, column],
                **rule.costs,
            )
            for one, probabilities in (
                (labels, fitted),
                (trust.labels, trust.probabilities),
            )
        )
        best = rule.choose(curve)
        found.append(
            {
                "label_name": work.names[column],
                "by": "number" if rule.is_fixed else rule.by,
                "is_used": threshold is not None or labels.ndim == 2,
                **rule.costs,
                "threshold": best,
                "chosen": shown.measure(best),
                "half": shown.measure(0.5),
                "points": _take_points(curve),
            }
        )
    return found


def _take_points(curve: evaluation.ThresholdCurve) -> list[dict[str, Any]]:
    """Take points of a curve, evenly over its thresholds."""
    last = len(curve.thresholds) - 1
    kept = np.unique(np.linspace(0, last, min(last + 1, _MAX_POINTS)).astype(int))
    return [curve.describe(index) for index in kept]
