"""Plots of calibration and of thresholds, each an `<svg>` element."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kbert.evaluation import reliability_curve
from kbert.report.figures import FIRST, MUTED, SECOND, SERIES, style, to_svg
from kbert.report.plots import make_figure

_DASHES = ("solid", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))


def plot_calibration(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> str:
    """Draw accuracy by confidence, before and after calibration.

    Args:
        labels: int (n,).
        before: float (n, num_classes).
        after: the same rows, calibrated.

    Returns:
        The plot.
    """
    with style():
        figure = make_figure((5.0, 3.6))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        words = []
        for name, color, marker, one in (
            ("before", SECOND, "s", before), ("after", FIRST, "o", after)
        ):  # fmt: skip
            curve = reliability_curve(labels, one, num_bins=10)
            filled = curve.counts > 0
            x, y = curve.confidences[filled], curve.accuracies[filled]
            dashes = "solid" if name == "after" else (0, (4, 2))
            axes.plot(
                x, y, color=color, marker=marker, markersize=5, linestyle=dashes,
                label=name,
            )  # fmt: skip
            pairs = zip(x, y, strict=True)
            words.append(f"{name}: {', '.join(f'{a:.2f} {b:.2f}' for a, b in pairs)}")
        axes.legend(frameon=False, loc="upper left")
        axes.set_xlabel("probability of the predicted class")
        axes.set_ylabel("share that is right")
        lowest = min(0.48, np.floor(10 / before.shape[1]) / 10 - 0.02)
        axes.set_xlim(lowest, 1.01)
        axes.set_ylim(-0.03, 1.03)
        text = f"Confidence and share right, {'; '.join(words)}."
        return to_svg(figure, "calibration", text)


def plot_thresholds(found: Mapping[str, Any], number: int) -> str:
    """Draw precision, recall, F1 and cost by threshold.

    Args:
        found: one of `Trust.thresholds`.
        number: of the plot on the page.

    Returns:
        The plot.
    """
    points = found["points"]
    x = [point["threshold"] for point in points]
    with style():
        figure = make_figure((5.0, 3.6))
        axes = figure.add_subplot()
        for name, color, dashes in zip(
            ("precision", "recall", "f1", "cost"), SERIES, _DASHES, strict=False
        ):
            values = np.array([point[name] for point in points])
            label = {"f1": "F1", "cost": "cost (scaled)"}.get(name, name)
            if name == "cost":
                values = values / (values.max() or 1)
            axes.plot(
                x, values, color=color, linestyle=dashes, label=label,
                drawstyle="steps-pre",
            )  # fmt: skip
        axes.axvline(found["threshold"], color=MUTED, linewidth=1.2)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("threshold")
        figure.legend(
            loc="outside upper left", ncols=4, frameon=False, labelcolor=MUTED
        )
        best = min(
            points, key=lambda point: abs(point["threshold"] - found["threshold"])
        )
        text = (
            f"By threshold; the chosen one is {found['threshold']:.3f}, with precision "
            f"{best['precision']:.3f}, recall {best['recall']:.3f} and F1 "
            f"{best['f1']:.3f}."
        )
        return to_svg(figure, f"thresholds-{number}", text)
