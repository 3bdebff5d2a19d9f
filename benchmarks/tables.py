"""Make the tables and plots of the documents from the records.

Run:    python -m benchmarks.tables            write them
        python -m benchmarks.tables --check    exit with 1 if they are stale

The blocks between two markers are replaced in every document that has them.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks import plots
from benchmarks.goals import FLAT, find_goal
from benchmarks.opponents import OPPONENTS
from benchmarks.records import RESULTS, read_records
from benchmarks.workloads import ROOT, SOURCES

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"
LONG_TEXTS = ROOT / "docs" / "long-texts.md"
DOCUMENTS = (ROOT / "README.md", ROOT / "benchmarks" / "README.md", LONG_TEXTS)
PLOTS = ROOT / "benchmarks" / "plots"
LONG_TEXT_MARKERS = "<!-- long-texts:start -->", "<!-- long-texts:end -->"
DEFAULTS_MARKERS = "<!-- defaults:start -->", "<!-- defaults:end -->"
_EMPTY = "No records yet. `python -m benchmarks.{}` makes one.\n"


def main(argv: list[str] | None = None) -> int:
    """Write the tables and plots, or check them; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    stale = find_stale()
    if args.check:
        for path in stale:
            print(f"{path} is stale; run python -m benchmarks.tables", file=sys.stderr)
        return int(bool(stale))
    for path, text in stale.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


def find_stale(
    results: Path = RESULTS,
    documents: Iterable[Path] = DOCUMENTS,
    folder: Path = PLOTS,
) -> dict[Path, str]:
    """Return the files that are not what the records make of them, with their text.

    Args:
        results: folder of the records.
        documents: files that may have the markers.
        folder: of the plots.
    """
    records = read_records(results)
    drawn = draw_plots(records)
    wanted = {folder / name: text for name, text in drawn.items()}
    for document in documents:
        text = document.read_text(encoding="utf-8")
        # A relative path, as the plots are reached from the document.
        prefix = os.path.relpath(folder, document.parent)
        text = _replace(text, START, END, render(records, drawn, prefix))
        long_texts = render_long_texts(records)
        text = _replace(text, *LONG_TEXT_MARKERS, long_texts)
        defaults = render_defaults(records)
        wanted[document] = _replace(text, *DEFAULTS_MARKERS, defaults)
    return {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def _replace(text: str, start: str, end: str, block: str) -> str:
    """Put a block between two markers, if the text has them."""
    between = re.compile(re.escape(start) + r"\n.*?" + re.escape(end), re.DOTALL)
    return between.sub(lambda _: f"{start}\n{block}{end}", text)


def draw_plots(records: list[dict]) -> dict[str, str]:
    """Draw the plots of the device with most training records, by file name."""
    trained = [
        one
        for one in newest(records)
        if one["benchmark"] == "training" and one["result"]["ratio"]
    ]
    devices = [_name_machine(one) for one in trained]
    if not devices:
        return {}
    device = max(sorted(set(devices)), key=devices.count)
    chosen = [one for one in trained if _name_machine(one) == device]
    return {
        "ratios.svg": plots.draw_ratios(chosen, device),
        "padding.svg": plots.draw_padding(chosen, device),
    }


def newest(records: list[dict]) -> list[dict]:
    """Keep the newest record of each measurement on each machine."""
    found = {}
    for record in records:
        config = record["config"] or {}
        about = ("preset", "batch_size", "sequence_length", "dtype")
        key = (record["benchmark"], record["variant"], _name_machine(record))
        key += (leaves_compile_out(record),)
        found[key + tuple(config.get(name) for name in about)] = record
    return list(found.values())


def leaves_compile_out(record: dict) -> bool:
    """Whether the Trainer at its best was not tried compiled."""
    return "--no-compile" in record["command"]


def render(records: list[dict], drawn: Iterable[str], prefix: str) -> str:
    """Return the block's text.

    Args:
        records: all of them.
        drawn: file names of the plots.
        prefix: path from the document to the folder of the plots.
    """
    if not records:
        return _EMPTY.format("training")
    latest = newest(records)
    lines = []
    for machine in sorted({_name_machine(one) for one in latest}):
        here = [one for one in latest if _name_machine(one) == machine]
        parts = (_render_training(here), _render_inference(here), _render_others(here))
        lines += [f"**{machine}**", ""]
        lines += [line for part in parts if part for line in (*part, "")]
    lines += [f"![{name.split('.')[0]}]({prefix}/{name})" for name in drawn]
    note = (
        "kbert's speed over the other's: median, and lowest to highest of the pairs of "
        "repeats. † short of its goal. ‡ torch_compile was not tried. * not the "
        "workload's real texts: bundled sample."
    )
    return "\n".join([*lines, "", note, ""])


def render_long_texts(records: list[dict]) -> str:
    """Return the table of the newest record about texts that are too long."""
    measured = [one for one in records if one["benchmark"] == "long_texts"]
    if not measured:
        return _EMPTY.format("long_texts")
    result = measured[-1]["result"]
    columns = ["accuracy", "only it is right", "only it is wrong", "tokens read"]
    lines = _head(["long_text", *columns, "training time"])
    base = result["ways"][result["against"]]["seconds"]
    for way, found in result["ways"].items():
        only = ["", ""]
        if way != result["against"]:
            only = [str(found["only_right"]), str(found["only_wrong"])]
        cells = [_format_mean(found | {"mean": found["accuracy"]}), *only]
        cells += [f"{found['tokens_read']:.0%}", f"× {found['seconds'] / base:.1f}"]
        lines.append(_line([way, *cells]))
    rows, preset = result["rows"], result["preset"]
    note = (
        f"{preset}, max_length {result['max_length']}; {rows['train']:,} reviews of "
        f"all lengths to train on, {result['epochs']} epochs, batches of "
        f"{measured[-1]['config']['batch_size']}, learning rate "
        f"{result['learning_rate']:g}, {len(result['seeds'])} seed(s); accuracy on "
        f"{rows['held_out']:,} test reviews, all over {result['max_length']} tokens; "
        f"always naming the more frequent class would give "
        f"{result['majority_accuracy']:.3f}. “Only it” is against "
        f"{result['against']}. {measured[-1]['device']}."
    )
    return "\n".join([*lines, "", note, ""])


def render_defaults(records: list[dict]) -> str:
    """Return the table of the newest record about default settings."""
    measured = [one for one in records if one["benchmark"] == "defaults"]
    if not measured:
        return _EMPTY.format("defaults")
    result = measured[-1]["result"]
    ranks = result["mean_ranks"]
    lines = _head(["set, metric", "rows to train on", *ranks])
    for name, found in result["sets"].items():
        sides = [found["sides"][side] for side in ranks]
        cells = [f"{_format_mean(one)} ({one['rank']:g})" for one in sides]
        metric = found["metric"].replace("_", " ")
        lines.append(
            _line([f"{name}, {metric}", f"{found['rows']['train']:,}", *cells])
        )
    lines.append(
        _line(["**mean rank**", "", *(f"{one:.2f}" for one in ranks.values())])
    )
    note = (
        f"{result['preset']}; in brackets the rank; {len(result['seeds'])} seed(s), "
        f"texts cut at {result['max_length']} tokens. {_judge(result['best'])} "
        f"{measured[-1]['device']}."
    )
    return "\n".join([*lines, "", note, ""])


def _judge(best: list[str]) -> str:
    """Say whether kbert's own settings have the best mean rank."""
    if best == ["kbert"]:
        return "kbert's rules have the best mean rank."
    if "kbert" in best:
        others = ", ".join(side for side in best if side != "kbert")
        return f"kbert's rules share the best mean rank with {others}."
    return f"kbert's rules do not have the best mean rank; {' and '.join(best)} has."


def _render_training(records: list[dict]) -> list[str]:
    found = [one for one in records if one["benchmark"] == "training"]
    return _render_ratios(found, "training", OPPONENTS)


def _render_inference(records: list[dict]) -> list[str]:
    found = [one for one in records if one["benchmark"] == "inference"]
    opponents = sorted({one["result"]["against"] for one in found})
    return _render_ratios(found, "inference", opponents)


def _render_ratios(records: list[dict], what: str, opponents) -> list[str]:
    """Render one row a workload and one column an opponent."""
    if not records:
        return []
    columns = [f"× {one}" for one in opponents]
    lines = _head([what, *columns, "texts/s", "of matrix peak"])
    for key in sorted({_row_key(one) for one in records}):
        row = [one for one in records if _row_key(one) == key]
        ordered = sorted(row, key=leaves_compile_out, reverse=True)  # the last counts
        by_opponent = {one["result"]["against"]: one for one in ordered}
        cells = [_format_ratio(by_opponent.get(one)) for one in opponents]
        last = row[-1]["result"]
        mark = "" if last["real_texts"] else "*"
        measured = [one for one in row if one["result"].get("matmul_share")]
        rest = ["", ""]
        if measured:
            rate = measured[-1]["result"]["texts_per_second"]["kbert"]
            rest = [f"{rate:,.0f}", _format_share(measured[-1])]
        _, workload, preset, size = key
        lines.append(_line([f"{workload}{mark}, {preset}, {size}", *cells, *rest]))
    return lines


def _row_key(record: dict) -> tuple:
    config, workload = record["config"], record["result"]["workload"]
    place = list(SOURCES).index(workload) if workload in SOURCES else len(SOURCES)
    size = f"{config['sequence_length']}×{config['batch_size']} {config['dtype'] or ''}"
    return (place, workload, config["preset"], size.strip())


def _format_ratio(record: dict | None) -> str:
    if record is None:
        return ""
    result = record["result"]
    if result["ratio"] is None:
        reason = result.get("not_measured") or ""
        return "out of memory" if reason.startswith("out of") else "not measured"
    goal = find_goal(record, result["against"])
    low, high = result["ratio_low"], result["ratio_high"]
    missed = f" † {goal:g}" if goal and result["ratio"] < goal else ""
    if leaves_compile_out(record) and result["against"] == "trainer-best":
        missed += " ‡"
    return f"{result['ratio']:.2f} ({low:.2f}–{high:.2f}){missed}"


def _format_share(record: dict) -> str:
    share = record["result"]["matmul_share"]
    goal = find_goal(record, "matmul_share")
    return f"{share:.2f}" + (f" † {goal:.2f}" if goal and share < goal else "")


def _format_peaks(result: dict) -> str:
    return ", ".join(
        f"{side} {peak / 1e6:,.0f} MB" if peak else f"{side} failed"
        for side, peak in result["peak_memory_bytes"].items()
    )


def _format_axis(axis: str, found: dict) -> str:
    """Return how the time grows, and what a token costs at most over the least."""
    if axis == "depth":  # a token costs more the deeper it goes, of course
        return f"{axis} {found['exponent']:.2f}"
    spread, goal = found["spread"], FLAT.get(axis)
    missed = f" † {goal:.0%}" if goal and spread > goal else ""
    return f"{axis} {found['exponent']:.2f} (+{spread:.0%} a token{missed})"


def _format_own(result: dict) -> str:
    """Return a figure over seeds, and what the untrained model has of it."""
    shown = f"{result['metric'].replace('_', ' ')} {_format_mean(result)}"
    if result["untrained"] is not None:
        shown += f", untrained {result['untrained']:.3f}"
    return shown


def _render_others(records: list[dict]) -> list[str]:
    """Render what is neither training nor inference: a line a record."""
    lines = []
    for record in records:
        result, name = record["result"], record["benchmark"]
        what = f"{name}: {result.get('workload')}"
        if name in ("tokenizing", "frozen"):
            cells = [what, result["against"], _format_ratio(record)]
            lines.append(_line(cells))
        elif name == "memory":
            shown = f"× {_format_ratio(record)} ({_format_peaks(result)})"
            what = f"{what}, {result['preset']}"
            lines.append(_line([what, result["against"], shown]))
        elif name == "scaling":
            shown = ", ".join(
                _format_axis(axis, found) for axis, found in result["axes"].items()
            )
            lines.append(_line([what, "exponents", shown]))
        elif name == "quality":
            lines.append(_render_quality(result))
        elif name == "long_texts":
            shown = [
                f"{way} {_format_mean(found | {'mean': found['accuracy']})}"
                for way, found in result["ways"].items()
            ]
            what = what.replace("_", " ")
            lines.append(_line([what, "accuracy", ", ".join(shown)]))
        elif name == "own_data":
            goal = f"goal {result['goal']}" if result["goal"] else "no goal"
            cells = [what.replace("_", " "), goal, _format_own(result)]
            lines.append(_line(cells))
        elif name == "captured" and result["ratio"]:
            cells = [f"{what}, {result['preset']}", "eager", _format_ratio(record)]
            lines.append(_line(cells))
        elif name == "devices" and result["ratio"]:
            lines.append(_line([what, "CPU", f"{result['ratio']:.1f} on the GPU"]))
    return [*_head(["other", "against", "kbert"]), *sorted(lines)] if lines else []


def _render_quality(result: dict) -> str:
    """Render means and deviations of the held-out metrics, ours against theirs."""
    mark = "" if result["real_texts"] else "*"
    limited = f" ({result['rows']['train']:,} rows)" if result["limit"] else ""
    what = f"quality: {result['workload']}{mark}{limited}, {result['preset']}"
    verdicts = {None: "one seed", True: "within 1 sd", False: "not within 1 sd"}
    parts = []
    for metric, found in result["metrics"].items():
        ours, theirs = (_format_mean(found[side]) for side in result["sides"])
        verdict = verdicts[found["within_one_sd"]]
        parts.append(f"{metric} {ours} against {theirs}, {verdict}")
    if not result["has_learned"]:
        parts.append("no better than without training")
    if result["is_emulated"]:
        parts.append("bfloat16 products emulated")
    return _line([what, result["against"], "; ".join(parts)])


def _format_mean(found: dict) -> str:
    """Format as .812 ± .004."""
    numbers = [found["mean"]] if found["sd"] is None else [found["mean"], found["sd"]]
    return " ± ".join(f"{number:.3f}".removeprefix("0") for number in numbers)


def _name_machine(record: dict) -> str:
    peaks = record["result"].get("machine")
    device = record["device"]
    if (record["config"] or {}).get("device") == "cuda":
        return device
    features = record["cpu"]["features"] or []
    fast = {"avx512_bf16", "amx_bf16", "bf16"} & set(features)
    kind = peaks or ("bfloat16" if fast else "float32")
    return f"{device}, {'bfloat16 fast' if kind == 'bfloat16' else 'float32 only'}"


def _head(cells: list[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells))]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
