"""Find out how far to trust a trained model: everything a report says about it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert import evaluation
from kbert.evaluation.temperature import check_rows
from kbert.evaluation.thresholds import By
from kbert.report.trust import Trust

if TYPE_CHECKING:
    from kbert.data import Split, Splits
    from kbert.models import Model

# Enough for a curve; every threshold of a large part would be megabytes.
_MAX_POINTS = 200
_EXPLAIN_STEPS = 16


def assess(
    model: "Model",
    splits: "Splits",
    *,
    calibrate: bool = True,
    baseline: bool = True,
    explain_mistakes: int = 5,
    explain_seconds: float = 30.0,
    slices: Sequence[str] = (),
    by: By = "f1",
    cost_false_positive: float = 1.0,
    cost_false_negative: float = 1.0,
    batch_size: int = 32,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Trust:
    """Calibrate a trained classifier, and measure how far to trust it.

    Temperature and thresholds are fitted on `splits.validation` alone and kept: the
    temperature in the weights of the last layer, the thresholds in
    `model.metadata["thresholds"]`. Figures are of the labelled test part; where there
    is none, of validation, and a note says so.

    Args:
        model: trained, of classes (softmax) or independent labels (sigmoid); changed.
        splits: what it was trained on; labels are class ids, or 0/1 of shape
            (n, num_labels).
        calibrate: whether to build a temperature into the model.
        baseline: whether to train TF-IDF and logistic regression beside it.
        explain_mistakes: how many of the surest mistakes to explain; needs captum.
        explain_seconds: after so long no further one is begun.
        slices: columns whose values make slices, beside the length.
        by: what thresholds are chosen by, `f1` or `cost`.
        cost_false_positive: of calling a row positive that is not.
        cost_false_negative: of passing over one that is, in the same unit.
        batch_size: texts a batch.
        num_bootstrap: resamples of the rows.
        seed: of the resamples.

    Returns:
        The figures; what could not be had is left out, and `notes` say why.

    Raises:
        ValueError: there are no labelled rows to measure on, a column is unknown, or
            the model is none of labels.
    """
    name, part = evaluation.find_measured_part(splits)
    for column in slices:
        part.column(column)  # refuses an unknown one before anything takes time
    work = _Work(model, splits, name, part, batch_size)
    labels, before = check_rows(part.labels, work.predict(part))
    trust = Trust(
        split=name, num_examples=len(part), labels=labels, probabilities=before
    )
    notes: list[str] = []
    _fit(work, trust, notes, calibrate, (by, cost_false_positive, cost_false_negative))
    trust.slices = _slice(work, trust, slices)
    if trust.labels.ndim == 1:
        trust.confusions = evaluation.find_confusions(
            part.labels, trust.probabilities, part.texts, work.names, rows=part.rows
        )
    if explain_mistakes:
        most = (explain_mistakes, explain_seconds)
        trust.explanations = _explain(work, trust, most, notes)
    if baseline:
        trust.baseline = _compare(work, trust, notes, num_bootstrap, seed)
    trust.notes = notes
    return trust


@dataclass(frozen=True)
class _Work:
    """What is measured."""

    model: "Model"
    splits: "Splits"
    name: str
    part: "Split"
    batch_size: int

    @property
    def names(self) -> list[str]:
        """Names of the labels."""
        known = self.model.label_names or self.splits.label_names
        return [str(name) for name in known]

    def predict(self, part: "Split") -> np.ndarray:
        """Predict a part."""
        return np.asarray(self.model.predict(part, batch_size=self.batch_size))


# === Fitted on validation ===


def _fit(
    work: _Work,
    trust: Trust,
    notes: list[str],
    calibrate: bool,
    rule: tuple[By, float, float],
) -> None:
    """Fit temperature and thresholds, and measure what they change."""
    validation = work.splits.validation
    if validation is None or validation.labels is None:
        notes.append(
            "There is no validation part to fit a temperature and thresholds on."
        )
        return
    trust.fitted_on = "validation"
    fitted = trust.probabilities
    if work.name == "validation":
        notes.append(
            "There is no test part: temperature and thresholds are measured on the "
            "rows they were fitted on, which flatters them a little."
        )
    else:
        fitted = work.predict(validation)
    if calibrate:
        try:
            fitted = _calibrate(work, trust, fitted)
        except ValueError as error:
            notes.append(f"The model is not calibrated: {error}")
    trust.thresholds = _choose(work, trust, fitted, rule)
    if trust.thresholds:
        chosen = [one["threshold"] for one in trust.thresholds]
        work.model.metadata["thresholds"] = chosen


def _calibrate(work: _Work, trust: Trust, fitted: np.ndarray) -> np.ndarray:
    """Fold a temperature in; return the validation part's new probabilities."""
    assert work.splits.validation is not None
    independent = trust.labels.ndim == 2
    before = trust.probabilities
    temperature = evaluation.fit_temperature(work.splits.validation.labels, fitted)
    evaluation.fold_temperature(work.model, temperature)
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
    work: _Work, trust: Trust, fitted: np.ndarray, rule: tuple[By, float, float]
) -> list[dict[str, Any]]:
    """Choose the threshold of the positive class of two, or of each label."""
    assert work.splits.validation is not None
    labels = np.asarray(work.splits.validation.labels)
    by, false_positive, false_negative = rule
    if labels.ndim == 1 and fitted.shape[1] != 2:
        return []
    columns = range(fitted.shape[1]) if labels.ndim == 2 else [1]
    costs = {
        "cost_false_positive": false_positive,
        "cost_false_negative": false_negative,
    }
    found = []
    for column in columns:
        curve, shown = (
            evaluation.threshold_curve(
                one[:, column] if one.ndim == 2 else one == column,
                probabilities[:, column],
                **costs,
            )
            for one, probabilities in (
                (labels, fitted),
                (trust.labels, trust.probabilities),
            )
        )
        best = curve.choose(by)
        found.append(
            {
                "label_name": work.names[column],
                "by": by,
                **costs,
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


# === Measured on the test part ===


def _slice(work: _Work, trust: Trust, columns: Sequence[str]) -> list[dict[str, Any]]:
    part, preprocessor = work.part, work.model.preprocessor
    assert preprocessor is not None
    lengths = preprocessor.encode(part.texts, part.text_pairs).full_lengths
    if len(lengths) != len(part):  # texts are read in windows
        lengths = np.array([len(text) for text in part.texts])
        groups = {"length": evaluation.group_lengths(lengths, unit="characters")}
    else:
        groups = {"length": evaluation.group_lengths(lengths)}
    for column in columns:
        groups[column] = evaluation.group_values(part.column(column))
    found = []
    for name, values in groups.items():
        rows = evaluation.slice_metrics(trust.labels, trust.probabilities, values)
        left_out = len(part) - sum(row["num_examples"] for row in rows)
        found.append({"name": name, "groups": rows, "num_left_out": left_out})
    return found


def _explain(
    work: _Work, trust: Trust, most: tuple[int, float], notes: list[str]
) -> list[dict[str, Any]]:
    """Explain why the surest mistakes were predicted."""
    from kbert.explaining import explain

    texts, pairs = work.part.texts, work.part.text_pairs
    found: list[dict[str, Any]] = []
    limit, seconds = most
    wanted = _find_surest(work, trust)[:limit]
    started = time.perf_counter()
    for row, column, label_name in wanted:
        if time.perf_counter() - started > seconds:
            notes.append(
                f"{len(found)} of {len(wanted)} mistakes are explained: the others "
                f"would have taken longer than {seconds:g} s. kbert explain does any."
            )
            break
        pair = None if pairs is None else pairs[row]
        try:
            explanation = explain(
                work.model, texts[row], pair, target=column, steps=_EXPLAIN_STEPS
            )
        except (RuntimeError, ValueError) as error:
            notes.append(f"Mistakes are not explained: {error}")
            break
        number = int(work.part.rows[row])
        found.append({"row": number, "label_name": label_name, **explanation.to_json()})
    return found


def _find_surest(work: _Work, trust: Trust) -> list[tuple[int, int, str]]:
    """List mistakes from the surest: position, label to explain, what was right."""
    labels, probabilities = trust.labels, trust.probabilities
    if labels.ndim == 1:
        predicted = probabilities.argmax(axis=1)
        wrong = np.flatnonzero(predicted != labels)
        order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
        names = work.names
        return [(int(r), int(predicted[r]), names[labels[r]]) for r in order]
    sureness = np.where((probabilities >= 0.5) != labels, abs(probabilities - 0.5), -1)
    order = np.argsort(-sureness, axis=None, kind="stable")
    places = (divmod(int(one), labels.shape[1]) for one in order)
    return [
        (row, column, f"{'' if labels[row, column] else 'not '}{work.names[column]}")
        for row, column in places
        if sureness[row, column] >= 0
    ]


def _compare(
    work: _Work, trust: Trust, notes: list[str], num_bootstrap: int, seed: int
) -> dict[str, Any] | None:
    try:
        return evaluation.compare_with_baseline(
            work.splits, trust.probabilities, num_bootstrap=num_bootstrap, seed=seed
        )
    except ValueError as error:
        notes.append(f"There is no baseline: {error}")
        return None
