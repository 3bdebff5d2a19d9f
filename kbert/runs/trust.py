"""How far to trust what was trained, and what is wrong with its data."""

from typing import TYPE_CHECKING, Any

from kbert.runs.plan import Plan

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.report import Trust

# More rows make a baseline of words as slow to train as an encoder is to run.
_MOST_BASELINE_ROWS = 100_000
# Of each finding; reports show a few, and `kbert inspect` lists all.
_MOST_ROWS = 100


def assess_model(plan: Plan, model: "Model") -> "Trust | None":
    """Calibrate a model, choose its thresholds, and measure how far to trust it.

    Args:
        plan: what was trained.
        model: trained; its last layer and `metadata` may change.

    Returns:
        As `kbert.report.assess`; `None` for tasks that have no classes, and where no
        labelled rows were held out.
    """
    from kbert.report import assess

    if not plan.task.has_trust or plan.split == "train":
        return None
    num_rows = len(plan.splits.train)
    trust = assess(
        model,
        plan.splits,
        baseline=num_rows <= _MOST_BASELINE_ROWS,
        slices=plan.slices,
        seed=plan.request.seed,
    )
    if num_rows > _MOST_BASELINE_ROWS:
        trust.notes = [
            *trust.notes,
            f"There is no baseline: {num_rows:,} rows are more than the "
            f"{_MOST_BASELINE_ROWS:,} that it is trained on.",
        ]
    return trust


def check_data(plan: Plan, model: "Model") -> tuple[list[dict[str, Any]], list[str]]:
    """Find what is wrong with the data of a training.

    Args:
        plan: what was trained.
        model: whose tokenizer counts.

    Returns:
        Findings, as `kbert.report.Run` takes them, and what was not looked at.
    """
    from kbert.inspection import inspect_splits

    preprocessor = model.preprocessor if plan.task.has_columns else None
    found = inspect_splits(
        plan.splits,
        preprocessor,
        seed=plan.request.seed,
        label_errors=plan.label_errors,
    )
    checks = [
        {
            "kind": finding.kind,
            "count": finding.count,
            "rows": [
                {"part": part, "row": int(row)}
                for part, rows in finding.rows.items()
                for row in rows[:_MOST_ROWS]
            ],
            "advice": finding.advice,
        }
        for finding in found.findings
    ]
    return checks, [f"Not checked: {note}" for note in found.notes]
