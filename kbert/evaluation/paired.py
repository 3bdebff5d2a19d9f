"""Two models on the same rows: figure beside figure, and which of them is better."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from kbert.evaluation.bootstrap import percentile_interval, resample_rows

# Takes int64 (b, n), the rows of b resamples; returns figures by name, each (b,).
Measure = Callable[[np.ndarray], Mapping[str, np.ndarray]]
Verdict = Literal["better", "level", "worse"]


def compare_paired(
    ours: Measure,
    theirs: Measure,
    num_rows: int,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Measure a model and a baseline on the same resamples of the same rows.

    Args:
        ours: figures of the model on resampled rows.
        theirs: the same of the baseline.
        num_rows: rows that both were measured on.
        num_bootstrap: resamples.
        seed: of the resamples.

    Returns:
        For each figure `model` and `baseline` (`None` where undefined) and
        `difference`: `value`, and `low` and `high`, its 95 % interval, `None` where it
        cannot be had.
    """
    everything = np.arange(num_rows)[None]
    points = [measure(everything) for measure in (ours, theirs)]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in points[0]}
    for rows in resample_rows(num_rows, num_bootstrap=num_bootstrap, seed=seed):
        one, other = ours(rows), theirs(rows)
        for name, kept in drawn.items():
            kept.append(one[name] - other[name])
    found = {}
    for name, kept in drawn.items():
        model, baseline = (float(point[name][0]) for point in points)
        low, high = percentile_interval(np.concatenate(kept)) or (None, None)
        found[name] = {
            "model": _known(model),
            "baseline": _known(baseline),
            "difference": {"value": _known(model - baseline), "low": low, "high": high},
        }
    return found


def conclude(
    name: str, figures: Mapping[str, Any], lead: str, words: str, *, is_error: bool
) -> dict[str, Any]:
    """Say whether a model beats a baseline.

    Args:
        name: of the baseline.
        figures: as `compare_paired` returns them.
        lead: name of the figure that tells.
        words: that figure as people read it.
        is_error: whether less of it is better.

    Returns:
        `verdict` (`better`, `level` or `worse`, by the interval of the difference) and
        `sentence`.
    """
    row = figures[lead]
    verdict = _judge(row["difference"], -1 if is_error else 1)
    return {"verdict": verdict, "sentence": _describe(name, verdict, row, words)}


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _judge(difference: Mapping[str, Any], sign: int) -> Verdict:
    if difference["low"] is None:
        return "level"
    low, high = sorted(sign * difference[end] for end in ("low", "high"))
    if low > 0:
        return "better"
    return "worse" if high < 0 else "level"


def _describe(name: str, verdict: Verdict, row: Mapping[str, Any], words: str) -> str:
    start = {
        "better": f"This model beats the baseline, {name}, on the same rows",
        "level": f"This model does not beat the baseline, {name}, on the same rows, by "
        "more than chance would",
        "worse": f"This model does not beat the baseline: {name} is better on the same "
        "rows",
    }[verdict]
    figures = f"{words} {row['model']:,.3f} against {row['baseline']:,.3f}"
    difference = row["difference"]
    if difference["low"] is None:
        return f"{start}: {figures}."
    ends = f"{difference['low']:+,.3f} to {difference['high']:+,.3f}"
    ends = ends.replace("-", "\u2212")
    return f"{start}: {figures}; 95 % interval of the difference {ends}."
