"""What a recipe says on the console."""

from collections.abc import Sequence
from typing import Any

from kbert.callbacks import format_seconds
from kbert.presets import count_parameters
from kbert.recipes.comparison import Row, compare
from kbert.recipes.experiment import Experiment
from kbert.recipes.trial import Trial
from kbert.recipes.verdicts import describe_values
from kbert.report import RunFolder
from kbert.report.wording import claimed, metric_name, setting

_PARTS = {"train": "to train on", "validation": "to validate with", "test": "to test"}


def announce(trial: Trial) -> None:
    """Say what is about to run, in words that a newcomer understands.

    Args:
        trial: what runs.
    """
    parts = {**trial.material.splits.parts, **trial.labelled_parts}
    counts = [
        f"{len(part):,} {_PARTS[name] if part.labels is not None else 'to predict'}"
        for name, part in parts.items()
    ]
    size = count_parameters(trial.preset.config) / 1e6
    print(f"Data      {trial.material.words}:")
    print(f"          {', '.join(counts)}")
    print(
        f"Preset    {trial.preset.name} ({size:.1f} million weights; "
        f"{trial.preset.source})"
    )
    for notice in trial.notices:
        print(f"Note      {notice}")
    settings = trial.settings
    words = [f"epochs {settings.epochs}", f"batch size {settings.batch_size}"]
    words.append(f"rate {settings.learning_rate:g}")
    if len(trial.experiment.variants) > 1:
        words.append(f"{trial.experiment.flag} {trial.name}")
    print(f"Settings  {', '.join(words)}, seed {trial.seed}", flush=True)


def number(position: int, total: int, name: str, seed: int) -> None:
    """Say which of several trials begins.

    Args:
        position: from 1.
        total: trials in all.
        name: of the variant.
        seed: of the trial.
    """
    print(f"\nTrial     {position} of {total}: {name}, seed {seed}")


def summarise(trial: Trial, record: dict[str, Any]) -> None:
    """Print the result and where everything is.

    Args:
        trial: the trial.
        record: what came of it.
    """
    figures = record["figures"]
    names = [name for name in trial.experiment.summary if name in figures]
    shown = ", ".join(f"{metric_name(name)} {figures[name]:.3f}" for name in names)
    print(
        f"Result    {record['split']} {shown}, with the weights of epoch "
        f"{record['kept_epoch']} of {len(record['history'])}, in "
        f"{format_seconds(record['seconds']['total'])}"
    )
    print(f"Claimed   {describe_claims(trial)}")
    print(f"Report    {trial.folder.path / 'report.html'}")
    print(f"Model     {trial.folder.path / 'model.keras'}")
    for word, what in trial.files.items():
        print(f"{word:<9} {what}")


def describe_claims(trial: Trial) -> str:
    """Put what the document states about a trial into a line.

    Args:
        trial: the trial.

    Returns:
        The figures that sum it up, and whether they compare.
    """
    keys = (*trial.experiment.summary, "batch_mean_accuracy")
    claims = [claim for claim in trial.variant.claims if claim.key in keys]
    shown = [f"{c.name} {c.value:g}" for c in claims or trial.variant.claims[:2]]
    if not shown:
        return "nothing: the document has no such run"
    if trial.is_comparable:
        return f"{', '.join(shown)}, with this preset and these data"
    means = f"with {trial.documented_preset} on the documented data"
    return f"{', '.join(shown)}, {means}: not to be compared"


def summarise_all(
    experiment: Experiment, folder: RunFolder, records: Sequence[dict[str, Any]]
) -> None:
    """Print documented beside measured for each variant, and where the report is.

    Args:
        experiment: what was reproduced.
        folder: of all trials.
        records: of the trials.
    """
    rows = compare(experiment, records)
    print()
    for line in _align([line for row in rows for line in _tabulate(row)]):
        print(line)
    for notice in dict.fromkeys(line for one in records for line in one["notices"]):
        print(f"Note      {notice}")
    differences = dict.fromkeys(line for row in rows for line in row.find_differences())
    if differences:
        print(f"Unlike    the document: {'; '.join(differences)}")
    print(f"Report    {folder.path / 'report.html'}")


_HEADS = ("Variant", "Figure", "Documented", "Mean ± sd", "n", "One class only")


def _tabulate(row: Row) -> list[tuple[str, ...]]:
    """Lines of the figures that sum a row up; a stand-in's have none beside them."""
    claims = {claim["key"]: claim for claim in row.compare_claims()}
    keys = [*row.experiment.summary]
    keys += ["batch_mean_accuracy"] if "batch_mean_accuracy" in claims else []
    lines: list[tuple[str, ...]] = []
    for key in keys:
        values = row.values(key)
        if not values:
            continue
        is_shown = key in claims and not row.is_fallback
        documented = claimed(claims[key]) if is_shown else setting(None)
        measured = (documented, describe_values(values), str(len(values)))
        first = not lines
        lines.append(
            (
                row.label if first else "",
                metric_name(key),
                *measured,
                str(row.num_collapsed) if first else "",
            )
        )
    return lines


def _align(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Align columns: names to the left, figures to the right."""
    table = [_HEADS, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
