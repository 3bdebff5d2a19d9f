"""What a training says on the console."""

import contextlib
import logging
from collections.abc import Iterator

from kbert.callbacks import format_seconds
from kbert.data.findings import KINDS
from kbert.presets import count_parameters
from kbert.report.wording import figure, metric_name
from kbert.runs.plan import Plan
from kbert.runs.thresholds import describe_threshold
from kbert.runs.trained import MODEL_FILE, REPORT_FILE, TrainedRun
from kbert.runs.trust import Checks

_PARTS = {"train": "to train on", "validation": "to validate with", "test": "to test"}
_LISTED_NAMES = 10
_CUT = " were cut to "
_MANY_ROWS = 10_000


@contextlib.contextmanager
def saying_cuts_once() -> Iterator[None]:
    """Say at the end what was cut, not for each part and whenever it is read."""
    logger = logging.getLogger("kbert")
    logger.addFilter(_is_no_cut)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_cut)


def _is_no_cut(record: logging.LogRecord) -> bool:
    return _CUT not in record.getMessage()


def announce(plan: Plan) -> None:
    """Say what is about to be trained, and what was guessed.

    Args:
        plan: what is trained.
    """
    splits, settings = plan.splits, plan.settings
    counts = [
        f"{len(part):,} {_PARTS[name] if name in plan.labelled_parts else 'unlabelled'}"
        for name, part in splits.parts.items()
    ]
    size = count_parameters(plan.preset.config) / 1e6
    print(f"Data      {splits.source}:")
    print(f"          {', '.join(counts)}")
    for finding in plan.findings:
        print(f"Guessed   {finding}")
    names = splits.label_names
    more = f" and {len(names) - _LISTED_NAMES} more" * (len(names) > _LISTED_NAMES)
    listed = f": {', '.join(names[:_LISTED_NAMES])}{more}" if names else ""
    print(f"Task      {plan.task.name}{listed}")
    if plan.threshold is not None:
        print(f"Threshold {describe_threshold(plan.threshold, plan.task, names)}")
    for note in getattr(splits, "notes", ()):
        print(f"Note      {note}")
    for sentence in splits.findings.summary():
        print(f"Found     {sentence}")
    for notice in plan.notices:
        print(f"Note      {notice}")
    print(f"Preset    {plan.preset.name} ({size:.1f} million weights)")
    print(
        f"Settings  {_describe_epochs(plan)}, batch {settings.batch_size}, rate "
        f"{settings.learning_rate:g}, texts up to {settings.max_length} tokens, "
        f"seed {plan.request.seed}",
        flush=True,
    )


def _describe_epochs(plan: Plan) -> str:
    epochs, patience = plan.settings.epochs, plan.settings.patience
    if plan.splits.validation is None or patience >= epochs:
        # nothing ends them early
        return "1 epoch" if epochs == 1 else f"{epochs} epochs"
    return f"at most {epochs} epochs (ends after {patience} without a better one)"


def say_checking(plan: Plan) -> None:
    """Say that data are being checked, where they are so many that one waits.

    Args:
        plan: what is trained.
    """
    num_rows = sum(map(len, plan.splits.parts.values()))
    if num_rows >= _MANY_ROWS:
        print(f"Checking  {num_rows:,} rows for what is wrong with them", flush=True)


def say_checks(checks: Checks) -> None:
    """Say what is wrong with the data, before time is spent on them.

    Args:
        checks: as `check_data` returns them.
    """
    found = [] if checks.found is None else checks.found.findings
    worse = [one for one in found if one.severity != "note"]
    # Those of the same name were said when the data were read.
    for finding in worse:
        if finding.kind not in KINDS:
            print(f"Found     {finding.sentence}")
    num_notes = len(found) - len(worse)
    if num_notes:
        what = "more finding is" if num_notes == 1 else "more findings are"
        print(f"Found     {num_notes} {what} worth a note; the report names all rows.")
    for note in checks.notes:
        print(f"Note      {note}", flush=True)


def say_no_threshold() -> None:
    """Say that the threshold that was asked for could not be chosen."""
    print(
        "Warning   The threshold that was asked for could not be chosen and is not in "
        "the model; the report says why.",
        flush=True,
    )


def summarise(run: TrainedRun) -> None:
    """Print the result and where everything is.

    Args:
        run: trained.
    """
    shown = []
    for name in run.task.headlines:
        row = run.metrics.get(name) or {}
        if row.get("value") is not None:
            ends = ""
            if row.get("low") is not None:
                ends = f" ({figure(row['low'])} to {figure(row['high'])})"
            shown.append(f"{metric_name(name)} {figure(row['value'])}{ends}")
    trust = run.report.get("trust") or {}
    for one in trust.get("thresholds") or ():
        if one["is_used"] and run.task.balances:
            print(
                f"Decides   {one['label_name']!r} from a probability of "
                f"{one['threshold']:.3f} upwards"
            )
    if trust.get("warning"):
        print(f"Warning   {trust['warning']}")
    epochs = len(run.report["history"])
    print(f"Result    on {run.metrics['num_examples']:,} rows ({run.split}):")
    for line in shown:
        print(f"          {line}")
    print(
        f"Kept      epoch {run.report['kept_epoch']} of {epochs}, in "
        f"{format_seconds(run.report['seconds']['total'])}"
    )
    for sentence in run.report["data"]["sentences"]:
        if _CUT in sentence:
            print(f"Cut       {sentence}")
    print(f"Report    {run.path / REPORT_FILE}")
    print(f"Model     {run.path / MODEL_FILE}", flush=True)
