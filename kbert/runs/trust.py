"""How far to trust what was trained, and what is wrong with its data."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kbert.report import Trust
from kbert.report.assessment import examine
from kbert.report.settling import attempt, settle
from kbert.runs.plan import Plan

if TYPE_CHECKING:
    from kbert.inspection import Inspection
    from kbert.models import Model

# More rows make a baseline of words as slow to train as an encoder is to run.
_MOST_BASELINE_ROWS = 100_000
# Of each finding; reports show a few, and `kbert inspect` lists all.
_MOST_ROWS = 100


def settle_model(plan: Plan, model: "Model") -> Trust | None:
    """Calibrate a model and choose its thresholds; no failure loses the model.

    Args:
        plan: what was trained.
        model: trained; its last layer and `metadata` may change.

    Returns:
        As `kbert.report.settle`; `None` where no labelled rows were held out.
    """
    if plan.split == "train":
        return None
    notes: list[str] = []
    trust = attempt(
        notes,
        "Probabilities are neither calibrated nor given thresholds",
        lambda: settle(model, plan.splits, threshold=plan.threshold),
    )
    if trust is None:
        part = plan.splits.parts[plan.split]
        trust = Trust(split=plan.split, num_examples=len(part), notes=notes)
    return trust


def examine_model(plan: Plan, model: "Model", trust: Trust, predictions: Any) -> None:
    """Measure how far to trust a model; what fails becomes a note.

    Args:
        plan: what was trained.
        model: as `settle_model` left it.
        trust: as `settle_model` returned it; filled in.
        predictions: of the held-out part.
    """
    num_rows = len(plan.splits.train)
    notes = list(trust.notes)
    attempt(
        notes,
        "How far to trust this model was not found out",
        lambda: examine(
            model,
            plan.splits,
            trust,
            predictions,
            baseline=num_rows <= _MOST_BASELINE_ROWS,
            slices=plan.slices,
            seed=plan.request.seed,
        ),
    )
    if len(notes) > len(trust.notes):
        trust.notes = notes
    if num_rows > _MOST_BASELINE_ROWS:
        trust.notes = [
            *trust.notes,
            f"There is no baseline: {num_rows:,} rows are more than the "
            f"{_MOST_BASELINE_ROWS:,} that it is trained on.",
        ]


@dataclass(frozen=True)
class Checks:
    """What is wrong with the data of a training.

    Args:
        found: as `kbert.inspection` returns it; `None`: the check failed.
        notes: what was not looked at.
    """

    found: "Inspection | None"
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> list[dict[str, Any]] | None:
        """Return the findings, as `kbert.report.Run` takes them."""
        if self.found is None:
            return None
        return [
            {
                "kind": finding.kind,
                "sentence": finding.sentence,
                "count": finding.count,
                "rows": [
                    {"part": part, "row": int(row)}
                    for part, rows in finding.rows.items()
                    for row in rows[:_MOST_ROWS]
                ],
                "advice": finding.advice,
                "examples": [vars(one) for one in finding.examples],
            }
            for finding in self.found.findings
        ]


def check_data(plan: Plan, model: "Model") -> Checks:
    """Find what is wrong with the data of a training; no failure stops it.

    Args:
        plan: what is going to be trained.
        model: whose tokenizer counts.

    Returns:
        What was found.
    """
    from kbert.inspection import inspect_splits
    from kbert.text import Preprocessor

    preprocessor = model.preprocessor
    if not plan.task.has_columns:  # words and questions are read in ways of their own
        length = plan.settings.max_length
        preprocessor = Preprocessor(plan.preset.tokenizer, max_length=length)
    notes: list[str] = []
    found = attempt(
        notes,
        "The data were not checked",
        lambda: inspect_splits(
            plan.splits,
            preprocessor,
            seed=plan.request.seed,
            label_errors=plan.label_errors,
        ),
    )
    if found is not None:
        notes = [f"Not checked: {note}" for note in found.notes]
    return Checks(found, notes)
