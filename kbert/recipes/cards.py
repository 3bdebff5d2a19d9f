"""Result cards: `recipes/` holds the records of runs, and pages made from them.

Run:    python -m kbert.recipes.cards
Writes: recipes/<recipe>.md, recipes/README.md and recipes/plots/*.svg, all from
        recipes/results/*.json, which a recipe's `--card` adds to
"""

import hashlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbert import report
from kbert.presets import is_same_preset
from kbert.recipes import comparison, memory, verdicts
from kbert.recipes.experiment import Experiment, Variant
from kbert.recipes.records import (
    BUILDS,
    HERE,
    RESULTS,
    Results,
    find_experiments,
    name_record,
    name_row,
    read_builds,
    read_results,
    without_paths,
)
from kbert.report import wording
from kbert.report.plain import dump_json

PLOTS = "plots"
_BETWEEN_MARKS = re.compile(
    r"(?<=<!-- recipes:start -->\n).*?(?=\n<!-- recipes:end -->)", re.DOTALL
)
_COMMAND = "python -m kbert.recipes.cards"


def require_named(notices: Sequence[str]) -> None:
    """Refuse runs in which something stands in for the documented encoder or data.

    Args:
        notices: sentences on that.

    Raises:
        ValueError: there are any.
    """
    if notices:
        raise ValueError(
            "--card takes no run with a stand-in for the documented encoder or data; "
            f"name both with --preset and --data, or leave --card out. {notices[0]}"
        )


def add(records: Sequence[Mapping[str, Any]], root: Path | None = None) -> list[Path]:
    """Add trials to the records, and write every page anew.

    A record of the same trial is replaced.

    Args:
        records: of trials.
        root: folder of the cards; `None`: `recipes` where the process runs.

    Returns:
        Paths of the records.

    Raises:
        ValueError: something stood in for the documented encoder or data in one.
        OSError: a file cannot be read or written.
    """
    for record in records:
        if record["is_fallback"]:
            require_named(record["notices"] or ["Something did."])
    root = root or Path("recipes")
    paths = [_write_record(root, without_paths(record)) for record in records]
    write_cards(root)
    return paths


def _write_record(root: Path, record: Mapping[str, Any]) -> Path:
    experiment = find_experiments()[record["recipe"]]
    name = f"{name_record(experiment, record)}.json"
    return _write(root / RESULTS / name, dump_json(record, "the record"))


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return report.RunFolder(path.parent).write_text(path.name, text)


def build_cards(root: Path) -> list[report.Card]:
    """Make the cards from the records.

    Args:
        root: folder of the cards.

    Returns:
        One for each experiment.

    Raises:
        ValueError: a record is not one.
    """
    results = read_results(root)
    presets = {
        record["preset"]["name"] for one in results for record in one.records.values()
    }
    builds = [
        {**record, "place": f"{BUILDS}/{name}.json"}
        for name, record in read_builds(root).items()
    ]
    return [_build_card(one, presets, builds) for one in results]


def _build_card(results: Results, presets: set[str], builds: list) -> report.Card:
    experiment, records = results.experiment, list(results.records.values())
    rows = comparison.compare(experiment, records)
    missing = [
        _describe_missing(experiment, name, variant, presets)
        for name, variant in experiment.variants.items()
        if not any(row.name == name and is_as_documented(row) for row in rows)
    ]
    measured = {row.name for row in rows}
    own = {one.preset or experiment.preset for one in experiment.variants.values()}

    def place(record: Mapping[str, Any]) -> str:
        return f"{RESULTS}/{name_record(experiment, record)}.json"

    return report.Card(
        comparison=comparison.describe(experiment, records, place),
        place=f"{experiment.name}.md",
        unmeasured=[one for one in missing if one["name"] not in measured],
        missing=missing,
        plots=[f"{PLOTS}/{name_row(experiment, row.records[0])}.svg" for row in rows],
        memory=_find_memory(records),
        builds=[one for one in builds if one["preset"] in own],
        digests={
            f"{RESULTS}/{name}": hashlib.sha256(text.encode()).hexdigest()
            for name, text in results.files.items()
        },
    )


def _find_memory(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List what training was measured to need, once for each encoder and length."""
    found = {
        (record["preset"]["name"], record["settings"]["max_length"], need.batch_size): {
            "preset": record["preset"]["name"],
            "max_length": record["settings"]["max_length"],
            "device": record["device"],
            "batch_size": need.batch_size,
            "peak_bytes": need.peak_bytes,
        }
        for record in records
        for need in memory.read_memory(record["figures"])
    }
    return list(found.values())


def is_as_documented(row: comparison.Row) -> bool:
    """Whether a row compares with the document without any reserve.

    Args:
        row: trials of a variant.

    Returns:
        Whether encoder, data and settings are the document's; for a variant that the
        document does not have, whether encoder and data are.
    """
    first = row.records[0]
    if row.variant.is_documented:
        return first["is_comparable"]
    documented = row.variant.preset or row.experiment.preset
    has_preset = is_same_preset(first["preset"]["name"], documented)
    return has_preset and first["data"]["is_documented"] and not first["changed"]


def _describe_missing(
    experiment: Experiment, name: str, variant: Variant, presets: set[str]
) -> dict[str, Any]:
    preset = variant.preset or experiment.preset
    why = "not run yet"
    if not any(is_same_preset(preset, one) for one in presets):
        why = f"needs the weights of {preset}, which no recorded run had"
    words = ["python", "-m", f"kbert.recipes.{experiment.name}"]
    if name != experiment.default:
        words += [f"--{experiment.flag}", name]
    words += ["--data", "DATA", "--preset", preset]
    if variant.is_documented and experiment.has_defects(name):
        words.append("--as-documented")
    nothing = verdicts.sum_up(())
    return {
        "name": name,
        "claims": [verdicts.describe_claim(one, nothing) for one in variant.claims],
        "is_documented": variant.is_documented,
        "is_fallback": False,
        "differences": [],
        "why": why,
        "command": shlex.join([*words, "--card"]),
    }


def build_pages(root: Path) -> dict[Path, str]:
    """Make every page from the records.

    Args:
        root: folder of the cards.

    Returns:
        Text by path.

    Raises:
        ValueError: a record is not one.
    """
    cards = build_cards(root)
    pages = {root / card.place: report.render_card(card) for card in cards}
    pages[root / "README.md"] = report.render_cards(cards)
    package = root.parent / "kbert" / "recipes"
    if package.is_dir() and package.samefile(HERE):
        times = {one.experiment.name: measure_times(one) for one in read_results(root)}
        pages[package / "measured.json"] = dump_json(times)
        readme = root.parent / "README.md"
        pages[readme] = _fill_readme(_read(readme) or "", read_results(root))
    return pages


def _fill_readme(text: str, results: Sequence[Results]) -> str:
    """Put a line for each experiment between the marks of the project's README."""
    lines = [
        "| recipe | command | documented | measured | unlike the document | device |",
        "|---|---|---|---|---|---|",
        *(_describe_experiment(one) for one in results),
    ]
    return _BETWEEN_MARKS.sub(lambda _: "\n".join(lines), text)


def _describe_experiment(results: Results) -> str:
    """Put an experiment's default variant into a line of a table."""
    experiment, claim = results.experiment, results.experiment.headline
    rows = comparison.compare(experiment, list(results.records.values()))
    row = next((row for row in rows if row.name == experiment.default), None)
    measured, unlike, device = "not measured yet", "", ""
    if row is not None and claim is not None:
        figure, first = row.spread(claim.key), row.records[0]
        measured = f"{wording.spread(figure)} (n {figure['n']})"
        unlike = "; ".join(row.find_differences())
        device = f"{first['device']['name']}, {first['device']['precision']}"
    name = experiment.name
    cells = [
        f"[{name}](recipes/{name}.md)",
        f"`python -m kbert.recipes.{name} --data DATA`",
        f"{claim.name} {claim.value:g}" if claim else "none",
        measured,
        unlike,
        device,
    ]
    return f"| {' | '.join(cells)} |"


def measure_times(results: Results) -> dict[str, float | None]:
    """Take how long the default variant takes on all rows.

    Args:
        results: the records of an experiment.

    Returns:
        `cpu_seconds` and `gpu_seconds`, means over the seeds; `None` where unknown.
    """
    experiment = results.experiment
    rows = comparison.compare(experiment, list(results.records.values()))
    times: dict[str, float | None] = {"cpu_seconds": None, "gpu_seconds": None}
    for row in rows:  # those that compare with the document come first
        first = row.records[0]
        is_whole = not first["limit"] and not first["changed"]
        key = "cpu_seconds" if first["device"]["kind"] == "cpu" else "gpu_seconds"
        if row.name == experiment.default and is_whole and times[key] is None:
            seconds = [record["seconds"]["total"] for record in row.records]
            times[key] = round(verdicts.sum_up(seconds)["mean"], 1)
    return times


def write_cards(root: Path) -> list[Path]:
    """Write what is not as the records give it, and remove plots of no record.

    A plot is left alone while it shows what it should: another matplotlib draws it a
    little differently. Remove it to have it drawn anew.

    Args:
        root: folder of the cards.

    Returns:
        Paths of what was written or removed.

    Raises:
        ValueError: a record is not one.
        OSError: a file cannot be read or written.
    """
    changed = [
        _write(path, text)
        for path, text in build_pages(root).items()
        if _read(path) != text
    ]
    plots = _find_plots(root)
    for path, (card, place, description) in plots.items():
        if report.find_description(_read(path) or "") != description:
            changed.append(_write(path, report.draw_plot(card, place)))
    for path in _find_superfluous(root, plots):
        path.unlink()
        changed.append(path)
    return changed


def find_stale(root: Path) -> list[str]:
    """Find files that are not what the records make of them.

    Args:
        root: folder of the cards.

    Returns:
        A sentence for each.

    Raises:
        ValueError: a record is not one.
    """
    found = []
    for path, text in build_pages(root).items():
        old = _read(path)
        found += _judge(path, old, old == text)
        for name in re.findall(rf"\]\(({RESULTS}/[^)]*)\)", old or ""):
            if not (root / name).is_file():
                found.append(f"{path} names {name}, which is missing.")
    plots = _find_plots(root)
    for path, (_, _, description) in plots.items():
        old = _read(path)
        found += _judge(path, old, report.find_description(old or "") == description)
    return found + [
        f"{path} comes from no record; run {_COMMAND}."
        for path in _find_superfluous(root, plots)
    ]


def _judge(path: Path, old: str | None, is_right: bool) -> list[str]:
    if old is None:
        return [f"{path} is missing; run {_COMMAND}."]
    return [] if is_right else [f"{path} is not what the records give; run {_COMMAND}."]


def _find_plots(root: Path) -> dict[Path, tuple[report.Card, str, str]]:
    """Find every plot's card, place and what it is to show."""
    return {
        root / place: (card, place, description)
        for card in build_cards(root)
        for place, description in report.describe_plots(card).items()
    }


def _find_superfluous(root: Path, plots: Mapping[Path, Any]) -> list[Path]:
    return [path for path in sorted((root / PLOTS).glob("*.svg")) if path not in plots]


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def main() -> int:
    """Write the cards in `recipes` where the process runs.

    Returns:
        Exit code.
    """
    root = Path("recipes")
    if not root.is_dir():
        print(
            "error: there is no folder recipes here; run this at the top level of a "
            "checkout, or make one with a recipe's --card.",
            file=sys.stderr,
        )
        return 1
    try:
        changed = write_cards(root)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in changed:
        print(f"Wrote     {path}" if path.exists() else f"Removed   {path}")
    print(f"Cards     {len(changed)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
