"""What the report says about trust, arranged for reading."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.evaluation.temperature import as_decisions
from kbert.explaining.marking import cut_segments, segment_text
from kbert.report.run import Run
from kbert.report.trust import Trust
from kbert.report.wording import UNBOUNDED

MAX_GROUPS = 20
MAX_ROWS = 10
MAX_EXAMPLES = 5
MAX_PLOTS = 6
_NUM_CHARACTERS = 2_000
_NUM_STRONGEST = 6
_NUM_THRESHOLDS = 19


def arrange_trust(run: Run) -> dict[str, Any]:
    """Arrange what a run says about trust.

    Args:
        run: the run.

    Returns:
        What the templates show, by name; `trust` is `None` where there is nothing.
    """
    trust = run.trust
    return {
        "trust": trust,
        "checks": run.checks and [_arrange_check(one) for one in run.checks],
        "warning": trust.warning if trust else None,
        "contents": _list_contents(run),
        "threshold_tables": [_thin(one, trust) for one in trust.shown_thresholds]
        if trust
        else [],
        "num_thresholds_left_out": len(trust.thresholds) - len(trust.shown_thresholds)
        if trust
        else 0,
        "slices": [_arrange_slice(one) for one in trust.slices] if trust else [],
        "explanations": [arrange_explanation(one) for one in trust.explanations]
        if trust
        else [],
    }


def draw_trust(trust: Trust | None) -> dict[str, Any]:
    """Draw the plots of trust.

    Args:
        trust: of the run, or `None`.

    Returns:
        `calibration` (a plot or `None`) and `thresholds` (plots).
    """
    from kbert.report import trust_plots

    drawn: dict[str, Any] = {"calibration": None, "thresholds": []}
    if trust is None:
        return drawn
    if trust.probabilities_before is not None:
        labels, before = as_decisions(trust.labels, trust.probabilities_before)
        _, after = as_decisions(trust.labels, trust.probabilities)
        drawn["calibration"] = trust_plots.plot_calibration(labels, before, after)
    drawn["thresholds"] = [
        trust_plots.plot_thresholds(one, number)
        for number, one in enumerate(trust.shown_thresholds[:MAX_PLOTS], 1)
    ]
    return drawn


def _list_contents(run: Run) -> list[tuple[str, str, bool]]:
    """List the sections worth a link: id, name, and whether the page has it."""
    trust = run.trust
    if trust is None:
        return []
    return [
        ("checks", "Data", run.checks is not None),
        ("figures", "Figures", bool(run.metrics)),
        ("baseline", "Baseline", trust.baseline is not None),
        ("confusions", "Confusions", bool(trust.confusions)),
        ("calibration", "Calibration", trust.calibration is not None),
        ("thresholds", "Thresholds", bool(trust.thresholds)),
        ("slices", "Weak parts", bool(trust.slices)),
        ("explanations", "Explanations", bool(trust.explanations)),
        ("mistakes", "Mistakes", bool(run.mistakes)),
    ]


def _arrange_check(check: Mapping[str, Any]) -> dict[str, Any]:
    rows = list(check.get("rows") or ())
    return {
        "kind": str(check["kind"]).replace("_", " "),
        "count": check.get("count", len(rows)),
        "rows": [_name_row(row) for row in rows[:MAX_ROWS]],
        "num_left_out": max(0, len(rows) - MAX_ROWS),
        "advice": check.get("advice") or "",
        "sentence": check.get("sentence") or "",
        "examples": list(check.get("examples") or ())[:MAX_EXAMPLES],
        "is_open": check["kind"] == "label_errors",  # was asked for, to be read
    }


def _name_row(row: Any) -> str:
    """Name a row: a number, or a mapping with `row` and perhaps `source` or `part`."""
    if isinstance(row, Mapping):
        place = row.get("source") or row.get("part")
        return f"{place} {row['row']}" if place else str(row["row"])
    if isinstance(row, (list, tuple)):
        return " = ".join(_name_row(one) for one in row)
    return str(row)


def _thin(found: Mapping[str, Any], trust: Trust) -> dict[str, Any]:
    """Take the points of a table: about every .05, and the chosen one."""
    points = [{"accuracy": None, **point} for point in found["points"]]
    where = np.array([point["threshold"] for point in points])
    wanted = [*np.linspace(0.05, 0.95, _NUM_THRESHOLDS), found["threshold"]]
    kept = sorted({int(np.abs(where - one).argmin()) for one in wanted})
    chosen = int(np.abs(where - found["threshold"]).argmin())
    return {
        "is_used": np.ndim(trust.labels) == 2,  # as in reports that do not say
        **found,
        "chosen": {"accuracy": None, **found["chosen"]},
        "half": {"accuracy": None, **found["half"]},
        "points": [{**points[i], "is_chosen": i == chosen} for i in kept],
    }


def _arrange_slice(found: Mapping[str, Any]) -> dict[str, Any]:
    """Take the worst groups, with their intervals as shares of a line."""
    groups, name = list(found["groups"]), found.get("figure", "accuracy")
    is_error = name in UNBOUNDED
    highest = max((group[name]["high"] for group in groups), default=1.0)
    scale = (highest or 1.0) if is_error else 1
    return {
        **found,
        "figure": name,
        "is_error": is_error,
        "scale": float(f"{scale:.3g}"),
        "groups": [
            {
                **group,
                "start": 100 * group[name]["low"] / scale,
                "width": 100 * (group[name]["high"] - group[name]["low"]) / scale,
                "middle": 100 * group[name]["value"] / scale,
            }
            for group in groups[:MAX_GROUPS]
        ],
        "num_groups_left_out": max(0, len(groups) - MAX_GROUPS),
    }


def arrange_explanation(found: Mapping[str, Any]) -> dict[str, Any]:
    """Arrange an explanation for reading.

    Args:
        found: as `Explanation.to_json` returns it, perhaps with `row` and `label_name`.

    Returns:
        The same with `segments` of each text, the words `for` and `against` that count
        most, and all words `ranked`.
    """
    words = found["words"]
    texts = [
        cut_segments(segment_text(text, part, words), _NUM_CHARACTERS)
        for part, text in zip(("text", "text_pair"), found["texts"], strict=False)
    ]
    return {
        "row": None,
        "label_name": None,
        **found,
        "segments": texts,
        "for": _strongest(words, 1),
        "against": _strongest(words, -1),
        "ranked": sorted(words, key=lambda word: -abs(word["attribution"])),
    }


def _strongest(words: Sequence[Mapping[str, Any]], sign: int) -> list[dict[str, Any]]:
    found = [dict(word) for word in words if sign * word["attribution"] > 0]
    return sorted(found, key=lambda w: -sign * w["attribution"])[:_NUM_STRONGEST]
