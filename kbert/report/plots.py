"""The plots of a report, each an `<svg>` element."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.evaluation import (
    PrecisionRecall,
    ReliabilityCurve,
    precision_recall_points,
    reliability_curve,
)
from kbert.report.figures import (
    FIRST,
    MUTED,
    SECOND,
    SERIES,
    SURFACE,
    WARN,
    style,
    to_svg,
)

_SIZE = (5.0, 3.3)  # inches: 360 by 238 points
_MAX_POINTS = 400  # a curve with more looks the same and weighs more
_MAX_BARS = 60
_MAX_DOTS = 2000


def make_figure(size: tuple[float, float] = _SIZE) -> Any:
    """Make a figure of its own: pyplot would keep it, and need a lock.

    Args:
        size: width and height in inches.

    Returns:
        An empty `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def plot_metric(
    history: Sequence[Mapping[str, Any]], metric: str, kept_epoch: int | None
) -> str | None:
    """Draw a metric by epoch, in training and validation.

    Args:
        history: a dict per epoch with `epoch` and perhaps the metric and
            `val_<metric>`.
        metric: such as `loss`.
        kept_epoch: epoch to mark, or `None`.

    Returns:
        The plot; `None` where no epoch has the metric.
    """
    lines = [
        ("training", FIRST, *find_points(history, metric)),
        ("validation", SECOND, *find_points(history, f"val_{metric}")),
    ]
    lines = [line for line in lines if len(line[2])]
    if not lines:
        return None
    with style():
        figure = make_figure()
        axes = figure.add_subplot()
        if kept_epoch is not None:
            axes.axvline(kept_epoch, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        for _, color, epochs, values in lines:
            axes.plot(epochs, values, color=color, marker="o", markersize=4.5)
        axes.margins(y=0.12)
        _name_lines(axes, lines)
        count_epochs(axes, lines)
        axes.grid(axis="x", visible=False)
        text = "; ".join(
            f"{name}: {', '.join(f'{v:.3f}' for v in values[:50])}"
            for name, _, _, values in lines
        )
        return to_svg(figure, f"history-{_letters(metric)}", f"By epoch, {text}.")


def find_points(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list, list]:
    """Find where a curve runs.

    Args:
        history: a dict per epoch.
        key: of the metric.

    Returns:
        The epochs that have a finite value, and the values.
    """
    found = [
        (row.get("epoch", number), float(row[key]))
        for number, row in enumerate(history, 1)
        if isinstance(row.get(key), (int, float)) and np.isfinite(row[key])
    ]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _name_lines(axes: Any, lines: Sequence[tuple]) -> None:
    """Write each line's name behind its end, apart from the other's."""
    bottom, top = axes.get_ylim()
    ends = [line[3][-1] for line in lines]
    # Two names need a tenth of the height between them; the higher end's goes up.
    lack = max(0.0, 0.1 - abs(ends[0] - ends[-1]) / (top - bottom)) / 2
    for index, (name, color, epochs, values) in enumerate(lines):
        others = [end for other, end in enumerate(ends) if other != index]
        shift = 0.0
        if others:
            is_higher = (values[-1], -index) > (others[0], index - 1)
            shift = lack if is_higher else -lack
        axes.annotate(
            name,
            (epochs[-1], values[-1] + shift * (top - bottom)),
            xytext=(9, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            color=color,
            annotation_clip=False,
        )


def count_epochs(axes: Any, lines: Sequence[tuple]) -> None:
    """Let whole epochs be the horizontal axis.

    Args:
        axes: of the plot.
        lines: drawn in it: name, colour, epochs, values.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [epoch for line in lines for epoch in line[2]]
    axes.set_xlim(min(epochs) - 0.3, max(epochs) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def plot_reliability(labels: np.ndarray, probabilities: np.ndarray) -> str:
    """Draw accuracy by confidence, and below it how many rows are how confident.

    Args:
        labels: int (n,).
        probabilities: float (n, num_classes).

    Returns:
        The plot.
    """
    from matplotlib.ticker import MaxNLocator

    curve = reliability_curve(labels, probabilities)
    filled = curve.counts > 0
    lowest = 1 / probabilities.shape[1]
    with style():
        figure = make_figure((5.0, 3.8))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        x, y = curve.confidences[filled], curve.accuracies[filled]
        upper.vlines(x, np.minimum(x, y), np.maximum(x, y), color=SECOND, linewidth=4)
        upper.plot(x, y, color=FIRST, marker="o", markersize=5)
        upper.set_ylim(-0.03, 1.03)
        upper.set_ylabel("share that is right")
        width = np.diff(curve.edges)
        lower.bar(
            curve.edges[:-1], curve.counts, width, align="edge", color=FIRST,
            edgecolor=SURFACE, linewidth=1,
        )  # fmt: skip
        lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        lower.set_ylabel("rows")
        lower.set_xlabel("probability of the predicted class")
        lower.set_xlim(min(0.48, np.floor(lowest * 10) / 10 - 0.02), 1.01)
        for axes in (upper, lower):
            axes.grid(axis="x", visible=False)
        figure.align_ylabels()
        return to_svg(figure, "reliability", _describe_reliability(curve))


def _describe_reliability(curve: ReliabilityCurve) -> str:
    parts = [
        f"{count} rows of mean confidence {confidence:.2f} are right in {accuracy:.0%}"
        for count, confidence, accuracy in zip(
            curve.counts, curve.confidences, curve.accuracies, strict=True
        )
        if count
    ]
    return f"Reliability: {'; '.join(parts)}."


def plot_precision_recall(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[int]
) -> tuple[str, list[tuple[int, PrecisionRecall]]]:
    """Draw precision by recall.

    Args:
        labels: int (n,).
        probabilities: float (n, num_classes).
        classes: ids of the classes to draw, at most six.

    Returns:
        The plot, and the classes that have a curve with their points, in the order of
        the colours.
    """
    found = [
        (label, points)
        for label in classes[: len(SERIES)]
        if (points := precision_recall_points(labels, probabilities, label=label))
    ]
    with style():
        figure = make_figure((5.0, 3.8))
        axes = figure.add_subplot()
        for color, (_, points) in zip(SERIES, found, strict=False):
            recall, precision = _thin(points)
            axes.plot(recall, precision, color=color, drawstyle="steps-post")
            if len(found) == 1:
                axes.fill_between(
                    recall, precision, step="post", color=color, alpha=0.08, lw=0
                )
                axes.axhline(
                    points.prevalence, color=MUTED, lw=1, linestyle=(0, (2, 3))
                )
                _mark_half(axes, points)
        axes.set_xlim(-0.01, 1.02)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        text = "; ".join(
            f"class {label} has average precision {points.average_precision:.3f}"
            for label, points in found
        )
        return to_svg(
            figure, "precision-recall", f"Precision by recall: {text}."
        ), found


def _thin(points: PrecisionRecall) -> tuple[np.ndarray, np.ndarray]:
    """Keep as many points as a plot can show, from recall 0 upwards."""
    last = len(points.recall) - 1
    kept = np.unique(np.linspace(0, last, min(last + 1, _MAX_POINTS)).astype(int))[::-1]
    recall, precision = points.recall[kept], points.precision[kept]
    return np.r_[0.0, recall], np.r_[precision[0], precision]


def _mark_half(axes: Any, points: PrecisionRecall) -> None:
    """Mark the threshold 0.5, where a binary classifier decides."""
    index = int(np.searchsorted(points.thresholds, 0.5))
    if index == len(points.thresholds):
        return
    x, y = points.recall[index], points.precision[index]
    axes.plot([x], [y], marker="o", markersize=7, color=FIRST, mec=SURFACE, mew=1.5)
    axes.annotate(
        "threshold 0.5",
        (x, y),
        xytext=(-8, -8),
        textcoords="offset points",
        ha="right",
        va="top",
        color=FIRST,
    )


def plot_lengths(lengths: np.ndarray, max_length: int | None) -> str:
    """Draw how many texts have how many tokens, and where they are cut.

    Args:
        lengths: int (m,), tokens before truncation.
        max_length: where texts are cut; `None` draws no cut.

    Returns:
        The plot.
    """
    from matplotlib.ticker import MaxNLocator

    longest = int(lengths.max())
    width = max(1, -(-longest // _MAX_BARS))
    # Bars end at the cut, so that none holds texts of both sides.
    shift = (max_length or 0) % width
    edges = np.arange(shift - width, longest + width, width) + 0.5
    counts, _ = np.histogram(lengths, edges)
    is_cut = edges[:-1] >= (longest if max_length is None else max_length)
    with style():
        figure = make_figure((5.0, 2.7))
        axes = figure.add_subplot()
        colors = [WARN if cut else FIRST for cut in is_cut]
        axes.bar(
            edges[:-1], counts, width, align="edge", color=colors,
            edgecolor=SURFACE, linewidth=0.6,
        )  # fmt: skip
        if max_length is not None:
            _mark_cut(axes, max_length, longest)
        axes.set_xlim(0, max(longest, min(max_length or 0, 2 * longest)) + width)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_ylabel("texts")
        axes.set_xlabel("tokens")
        axes.grid(axis="x", visible=False)
        text = (
            f"Histogram of {len(lengths):,} text lengths: median "
            f"{np.median(lengths):.0f} tokens, longest {longest:,}."
        )
        return to_svg(figure, "lengths", text)


def _mark_cut(axes: Any, max_length: int, longest: int) -> None:
    if max_length > 2 * longest:
        return  # so far out that the bars would shrink to nothing
    axes.axvline(max_length + 0.5, color=WARN, linewidth=1.2)
    axes.annotate(
        f"cut at {max_length:,}",
        (max_length + 0.5, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-5, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        color=WARN,
        bbox={"boxstyle": "square,pad=0.1", "fc": SURFACE, "ec": "none"},
    )


def _letters(name: str) -> str:
    """Make a metric's name fit for an id."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)


__all__ = [
    "count_epochs",
    "find_points",
    "make_figure",
    "plot_lengths",
    "plot_metric",
    "plot_precision_recall",
    "plot_reliability",
]


def plot_scores(labels: np.ndarray, predictions: np.ndarray) -> str:
    """Draw predicted scores by true ones.

    Args:
        labels: float (n,).
        predictions: float (n,), in the same unit.

    Returns:
        The plot, of at most 2,000 rows, evenly chosen.
    """
    rows = np.linspace(0, len(labels) - 1, min(len(labels), _MAX_DOTS)).astype(int)
    shown, guessed = labels[rows], predictions[rows]
    ends = [
        float(min(shown.min(), guessed.min())),
        float(max(shown.max(), guessed.max())),
    ]
    with style():
        figure = make_figure()
        axes = figure.add_subplot()
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        axes.scatter(shown, guessed, s=9, color=FIRST, alpha=0.5, linewidths=0)
        axes.set_xlabel("label")
        axes.set_ylabel("prediction")
        text = (
            f"Predicted scores of {len(labels):,} rows by their labels, from "
            f"{ends[0]:.3g} to {ends[1]:.3g}."
        )
        return to_svg(figure, "scores", text)
