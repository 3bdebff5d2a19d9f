"""Find out how far to trust a trained model: everything a report says about it."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kbert.evaluation import ThresholdRule
from kbert.report.settling import Work, attempt, find_work, settle
from kbert.report.trust import Trust

if TYPE_CHECKING:
    from kbert.data import Splits
    from kbert.models import Model

_EXPLAIN_STEPS = 16


def assess(
    model: "Model",
    splits: "Splits",
    *,
    calibrate: bool = True,
    threshold: ThresholdRule | None = None,
    baseline: bool = True,
    explain_mistakes: int = 5,
    explain_seconds: float = 30.0,
    slices: Sequence[str] = (),
    batch_size: int = 32,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Trust:
    """Calibrate a trained model, and measure how far to trust it.

    Of classes and labels, temperature and thresholds are fitted on `splits.validation`
    alone and kept: the temperature in the weights of the last layer, the thresholds in
    `model.metadata`: `thresholds` of independent labels and, where it is asked for,
    `threshold` of the second of two classes; what kbert predicts follows them. Figures
    are of the labelled test part; where there is none, of validation, and a note says
    so.

    Args:
        model: trained, of any task; of labels it is changed.
        splits: what it was trained on, as the task has them; of models without a task
            the labels are class ids, or 0/1 of shape (n, num_labels).
        calibrate: whether to build a temperature into the model.
        threshold: how thresholds are chosen; `None`: by F1, and of two classes only to
            be shown.
        baseline: whether to train a simple model beside it.
        explain_mistakes: how many of the worst mistakes to explain; needs captum.
        explain_seconds: after so long no further one is begun.
        slices: columns whose values make slices, beside those of the task.
        batch_size: texts a batch.
        num_bootstrap: resamples of the rows.
        seed: of the resamples.

    Returns:
        The figures; what could not be had is left out, and `notes` say why.

    Raises:
        ValueError: there are no labelled rows to measure on, a column is unknown, or
            the predictions are none of the task's.
    """
    work = find_work(model, splits, batch_size)
    for column in slices:
        work.part.column(column)  # refuses an unknown one before anything takes time
    trust = settle(
        model,
        splits,
        calibrate=calibrate,
        threshold=threshold,
        batch_size=batch_size,
    )
    predictions = trust.probabilities
    examine(
        model,
        splits,
        trust,
        work.predict(work.part) if predictions is None else predictions,
        baseline=baseline,
        explain_mistakes=explain_mistakes,
        explain_seconds=explain_seconds,
        slices=slices,
        num_bootstrap=num_bootstrap,
        seed=seed,
    )
    return trust


def examine(
    model: "Model",
    splits: "Splits",
    trust: Trust,
    predictions: Any,
    *,
    baseline: bool = True,
    explain_mistakes: int = 5,
    explain_seconds: float = 30.0,
    slices: Sequence[str] = (),
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> None:
    """Find out where a settled model is weak, and why; the second half of `assess`.

    Args:
        model: as `settle` left it.
        splits: what it was trained on.
        trust: as `settle` returned it; slices, confusions, explanations and the
            baseline are filled in, and a note for each that cannot be had.
        predictions: of the measured part, as the task's `predict` returns them.
        baseline: as for `assess`, like the others.
        explain_mistakes: how many.
        explain_seconds: how long.
        slices: columns.
        num_bootstrap: resamples.
        seed: of the resamples.
    """
    work = find_work(model, splits, 32)
    judge, options = work.task.judge, work.task.find_options(model)
    notes = list(trust.notes)
    trust.slices = (
        attempt(
            notes,
            "Parts of the rows are not measured one by one",
            lambda: _slice(work, predictions, slices, options),
        )
        or []
    )
    trust.confusions = (
        attempt(
            notes,
            "Confusions are not listed",
            lambda: judge.find_confusions(
                work.part, predictions, work.names, **options
            ),
        )
        or []
    )
    if explain_mistakes:
        attempt(
            notes,
            "Mistakes are not explained",
            lambda: _explain(
                work, trust, predictions, (explain_mistakes, explain_seconds), notes
            ),
        )
    if baseline:
        trust.baseline = attempt(
            notes,
            "There is no baseline",
            lambda: judge.compare(
                splits, predictions, **options, num_bootstrap=num_bootstrap, seed=seed
            ),
        )
    trust.notes = notes


def _slice(
    work: Work, predictions: Any, columns: Sequence[str], options: dict[str, Any]
) -> list[dict[str, Any]]:
    judge = work.task.judge
    found = []
    for name, values in judge.group(work.model, work.part, columns).items():
        rows = judge.slice(work.part, predictions, values, **options)
        left_out = len(work.part) - sum(row["num_examples"] for row in rows)
        found.append(
            {
                "name": name,
                "figure": judge.figure,
                "groups": rows,
                "num_left_out": left_out,
            }
        )
    return found


def _explain(
    work: Work,
    trust: Trust,
    predictions: Any,
    most: tuple[int, float],
    notes: list[str],
) -> None:
    """Explain the worst mistakes, as many as the time allows."""
    limit, seconds = most
    options = work.task.find_options(work.model)
    puzzles = work.task.judge.find_puzzles(
        work.part, predictions, work.names, **options
    )
    wanted = puzzles[:limit]
    if not wanted:
        return
    from kbert.explaining import explain

    texts, pairs = work.part.texts, work.part.text_pairs
    found: list[dict[str, Any]] = []
    trust.explanations = found
    started = time.perf_counter()
    for one in wanted:
        if time.perf_counter() - started > seconds:
            notes.append(
                f"{len(found)} of {len(wanted)} mistakes are explained: the others "
                f"would have taken longer than {seconds:g} s. kbert explain does any."
            )
            break
        pair = None if pairs is None else pairs[one.position]
        explanation = explain(
            work.model,
            texts[one.position],
            pair,
            target=one.target,
            steps=_EXPLAIN_STEPS,
        )
        row = int(work.part.rows[one.position])
        named = {"row": row, "label_name": one.label_name}
        found.append({**named, **explanation.to_json()})
