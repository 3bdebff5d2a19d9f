"""The report on several trials: variants and seeds side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbert.report.curves import find_limits, plot_curves
from kbert.report.folder import RunFolder
from kbert.report.plain import dump_json, to_plain
from kbert.report.rendering import read_style, render

SCHEMA = 1


@dataclass(kw_only=True)
class Comparison:
    """Several trials of an experiment, as a report shows them.

    Args:
        recipe: name, such as `tweets`.
        title: headline.
        question: what the experiment is to find out.
        source: the document, in words.
        file: the document's file name.
        metrics: names of the figures that sum a trial up, the most important first.
        rows: a mapping for the trials of each variant that were set the same way:
            `name` of the variant, `words` on it, whether it `is_documented`,
            `differences` from the document (in a few words each), `command`,
            `num_trials`, `num_collapsed`, `is_fallback`,
            `claims` (each with `name`, `documented`, `mean`, `sd`, `n`, `verdict` and a
            `note`),
            `metrics` (by name, each with `mean`, `sd`, `n`), `seconds` (of a trial),
            `trials` (each with `seed`, `figures`, `kept_epoch`, `num_epochs`,
            `seconds`, `collapsed`, `place`) and `histories` (by name of the trial).
        lessons: sentences on what the figures show.
        remarks: sentences on what the document leaves open; deviations of all trials.
        records: of all trials, as `record.json` holds them.
        names: of the row that each of them is in.
    """

    recipe: str
    title: str
    question: str
    source: str
    file: str
    metrics: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    lessons: Sequence[str]
    records: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    remarks: Sequence[str] = ()

    @property
    def notices(self) -> list[str]:
        """Sentences on what stood in for the documented encoder or data."""
        return _distinct(line for one in self.records for line in one["notices"])

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain lists and dicts.

        Returns:
            The fields by name, and `schema`.

        Raises:
            ValueError: a field holds something that JSON has no form for.
        """
        return {"schema": SCHEMA, **to_plain(vars(self), f"the {self.recipe} report")}


def write_comparison(folder: RunFolder, comparison: Comparison) -> None:
    """Write `report.json`, `report.md` and `report.html` on several trials.

    All are made before the first is written.

    Args:
        folder: where to write; the trials' places are relative to it.
        comparison: what to report.

    Raises:
        ValueError: a field holds what a report cannot show.
        OSError: the disk is full or a file may not be written.
    """
    files = {
        "report.json": dump_json(comparison.to_json(), "the report"),
        "report.md": render_comparison_markdown(comparison),
        "report.html": render_comparison_html(comparison),
    }
    for name, text in files.items():
        folder.write_text(name, text)


def render_comparison_markdown(comparison: Comparison) -> str:
    """Write the report as Markdown (GitHub's).

    Args:
        comparison: what to report.

    Returns:
        The page; whatever names hold, none of it becomes markup.
    """
    return render("comparison.md", **arrange_comparison(comparison))


def render_comparison_html(comparison: Comparison) -> str:
    """Write the report as one page of HTML.

    Args:
        comparison: what to report.

    Returns:
        The page, which loads nothing and has no script; it links to the trials' own.
    """
    context = arrange_comparison(comparison)
    limits = find_scales(comparison)
    return render(
        "comparison.html",
        **context,
        title=comparison.title,
        version=", ".join(context["versions"].get("kbert", ())),
        plots=[
            plot_curves(row["histories"], limits, f"curves-{number}")
            for number, row in enumerate(comparison.rows, 1)
        ],
        style=read_style(),
    )


def find_scales(comparison: Comparison) -> dict[str, tuple[float, float]]:
    """Find the scales on which all learning curves are drawn.

    Args:
        comparison: what to report.

    Returns:
        As `find_limits` does.
    """
    return find_limits([one["history"] for one in comparison.records])


def arrange_comparison(comparison: Comparison) -> dict[str, Any]:
    """Arrange a comparison for reading.

    Args:
        comparison: what to report.

    Returns:
        What the templates show, by name.
    """
    records = comparison.records
    return {
        "comparison": comparison,
        "compared": [row for row in comparison.rows if not row["is_fallback"]],
        "apart": [row for row in comparison.rows if row["is_fallback"]],
        "metrics": [m for m in comparison.metrics if _has(comparison.rows, m)],
        "scale": _find_scale(comparison),
        "deviations": _find_deviations(comparison),
        "presets": _distinct(map(_describe_preset, records)),
        "data": _distinct(map(_describe_data, records)),
        "devices": _distinct(map(_describe_device, records)),
        "versions": _find_versions(records),
        "seconds": sum(record["seconds"]["total"] for record in records),
        "ended": max((record["utc"] for record in records), default=""),
    }


def _has(rows: Iterable[Mapping[str, Any]], metric: str) -> bool:
    return any(metric in row["metrics"] for row in rows)


def _find_scale(comparison: Comparison) -> dict[str, Any] | None:
    """Find the ends of a line that shows the first metric of every trial."""
    metric = next((m for m in comparison.metrics if _has(comparison.rows, m)), None)
    values = [
        trial["figures"][metric]
        for row in comparison.rows
        for trial in row["trials"]
        if metric in trial["figures"]
    ]
    if not values:
        return None
    low, high = math.floor(min(values) * 50) / 50, math.ceil(max(values) * 50) / 50
    return {"metric": metric, "low": low, "high": high if high > low else low + 0.02}


def _find_deviations(comparison: Comparison) -> list[dict[str, Any]]:
    """List the deviations, each with the rows that have it where not all do."""
    names = comparison.names
    found = {sentence: dict.fromkeys(names) for sentence in comparison.remarks}
    for record, name in zip(comparison.records, names, strict=True):
        for sentence in record["deviations"]:
            found.setdefault(sentence, {})[name] = None
    everyone = len(_distinct(names))
    return [
        {"sentence": sentence, "names": list(names) if len(names) < everyone else []}
        for sentence, names in found.items()
    ]


def _describe_preset(record: Mapping[str, Any]) -> str:
    preset = record["preset"]
    return (
        f"{preset['name']}: {preset['num_parameters']:,} parameters, {preset['source']}"
    )


def _describe_data(record: Mapping[str, Any]) -> str:
    data = record["data"]
    rows = ", ".join(f"{name} {count:,}" for name, count in data["rows"].items())
    return f"{data['source']}: {rows} rows; SHA-256 {data['digest']}"


def _describe_device(record: Mapping[str, Any]) -> str:
    device = record["device"]
    words = [device["kind"], device["name"]]
    if threads := device.get("num_threads"):
        words.append(f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join([*words, f"products in {device['precision']}"])


def _find_versions(records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for record in records:
        environment = record["environment"]
        named = {"Python": environment["python"], **environment["packages"]}
        for name, version in named.items():
            found.setdefault(name, {})[version] = None
    return {name: list(versions) for name, versions in found.items()}


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
