"""Learning curves of several trainings, for pages and files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.report.figures import FIRST, MUTED, SECOND, style, to_svg
from kbert.report.plots import count_epochs, find_points, make_figure
from kbert.report.sections import NO_METRIC
from kbert.report.wording import metric_name


def find_limits(
    histories: Sequence[Sequence[Mapping[str, Any]]],
) -> dict[str, tuple[float, float]]:
    """Find the metrics worth a curve, and what plots that compare must all show.

    Args:
        histories: of all trainings: a dict per epoch.

    Returns:
        Least and greatest value of the loss and of the first other metric.
    """
    names = dict.fromkeys(k for rows in histories for row in rows for k in row)
    metrics = sorted(
        dict.fromkeys(
            name.removeprefix("val_") for name in names if name not in NO_METRIC
        ),
        key=lambda name: name != "loss",
    )
    found = {}
    for metric in metrics:
        pairs = [
            find_points(rows, key) for rows in histories for _, _, key in _parts(metric)
        ]
        values = [value for _, values in pairs for value in values]
        if values:
            found[metric] = (min(values), max(values))
    return dict(list(found.items())[:2])


def plot_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    limits: Mapping[str, tuple[float, float]],
    name: str,
) -> str:
    """Draw several trainings of one kind: a thin line each, a thick one their mean.

    Args:
        histories: of each training, by its name: a dict per epoch.
        limits: least and greatest value to show of each metric; a panel each.
        name: letters, unique on the page.

    Returns:
        The plot.
    """
    from matplotlib.lines import Line2D

    with style():
        figure = make_figure((5.0, 2.5))
        panels = figure.subplots(1, len(limits), squeeze=False)[0]
        for axes, (metric, (low, high)) in zip(panels, limits.items(), strict=True):
            for _, color, key in _parts(metric):
                _draw_trainings(axes, histories, key, color)
            margin = 0.06 * (high - low) or 0.05
            axes.set_ylim(low - margin, high + margin)
            axes.set_title(metric_name(metric), loc="left", fontsize="medium")
            axes.grid(axis="x", visible=False)
        figure.legend(
            [Line2D([], [], color=color) for color in (FIRST, SECOND)],
            [part for part, *_ in _parts("")],
            loc="outside upper right", ncols=2, frameon=False, labelcolor=MUTED,
        )  # fmt: skip
        return to_svg(figure, name, describe_curves(histories, limits))


def describe_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    limits: Mapping[str, tuple[float, float]],
) -> str:
    """Say what `plot_curves` shows, every value of it.

    Args:
        histories: of each training, by its name: a dict per epoch.
        limits: least and greatest value to show of each metric.

    Returns:
        A sentence.
    """
    texts = [
        f"{metric}, {part}, {name}: {', '.join(f'{v:.4g}' for v in values)}"
        for metric in limits
        for part, _, key in _parts(metric)
        for name, rows in histories.items()
        if (values := find_points(rows, key)[1])
    ]
    scales = [
        f"{metric} {low:.4g} to {high:.4g}" for metric, (low, high) in limits.items()
    ]
    return f"By epoch, on a scale of {', '.join(scales)}: {'; '.join(texts)}."


def _parts(metric: str) -> tuple[tuple[str, str, str], ...]:
    return ("training", FIRST, metric), ("validation", SECOND, f"val_{metric}")


def _draw_trainings(
    axes: Any, histories: Mapping[str, Any], key: str, color: str
) -> None:
    """Draw a metric of several trainings, and its mean where all still train."""
    lines = [(name, color, *find_points(rows, key)) for name, rows in histories.items()]
    lines = [line for line in lines if line[2]]
    if not lines:
        return
    thin: dict[str, Any] = {"alpha": 0.45, "linewidth": 0.9, "markersize": 2}
    if len(lines) == 1:
        thin = {"markersize": 4}
    for _, _, epochs, values in lines:
        # A line of one point shows by its marker alone.
        marker = "o" if len(lines) == 1 or len(epochs) == 1 else None
        axes.plot(epochs, values, color=color, marker=marker, **thin)
    if len(lines) > 1:
        shared = min((line[2] for line in lines), key=len)
        tables = [dict(zip(line[2], line[3], strict=True)) for line in lines]
        means = [
            float(np.mean([t.get(epoch, np.nan) for t in tables])) for epoch in shared
        ]
        axes.plot(shared, means, color=color, marker="o", markersize=4)
    count_epochs(axes, lines)
