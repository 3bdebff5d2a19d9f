"""Figures of held-out rows, and whether two sides differ in them."""

import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.problems import PROBLEMS
from benchmarks.workloads import Workload
from kbert.evaluation import accuracy, log_loss, precision_recall_f1

METRICS = PROBLEMS["classify"].metrics


def measure_workload(
    workload: Workload, predictions: Sequence | np.ndarray
) -> dict[str, float]:
    """Return the metrics of the workload's task.

    Args:
        workload: held-out rows.
        predictions: of all of them, as `Trained` has them.
    """
    kind, part = workload.kind, workload.part
    if kind == "classify":
        return measure_quality(workload.labels, predictions)
    if kind == "regress":
        part, predictions = workload, predictions[:, 0]
    problem = PROBLEMS[kind]
    found = problem.task.measure(part, predictions, workload.label_names)
    return {name: found[name]["value"] for name in problem.metrics}


def measure_quality(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return `METRICS` of probabilities (n, num_classes); F1 is of class 1 of two."""
    average = "binary" if probabilities.shape[1] == 2 else "macro"
    return {
        "accuracy": accuracy(labels, probabilities),
        "f1": precision_recall_f1(labels, probabilities, average=average)[2],
        "loss": log_loss(labels, probabilities),
    }


def compare_seeds(ours: Sequence[float], theirs: Sequence[float]) -> dict:
    """Compare the means of two samples, one value a seed.

    Returns:
        `mean` and `sd` (of a sample; `None` for one value) of each, `difference` of the
        means, `pooled_sd`, and `within_one_sd`, `None` where there is no deviation to
        measure by.
    """
    means = [statistics.fmean(one) for one in (ours, theirs)]
    difference = means[0] - means[1]
    deviations: list[float | None] = [None, None]
    pooled = within = None
    if len(ours) > 1:
        first, second = statistics.stdev(ours), statistics.stdev(theirs)
        deviations = [first, second]
        pooled = ((first**2 + second**2) / 2) ** 0.5
        within = difference == 0 or abs(difference) < pooled
    return {
        "mean": means,
        "sd": deviations,
        "difference": difference,
        "pooled_sd": pooled,
        "within_one_sd": within,
    }


def measure_majority(labels: np.ndarray) -> float:
    """Return the accuracy of always naming the most frequent label."""
    return float(np.bincount(labels).max() / len(labels))


def find_baseline(workload: Workload) -> float:
    """Return what the first metric is without having learned anything.

    Args:
        workload: held-out rows. Scores that are all the same, words without an entity
            and answers by chance get 0, or nearly.
    """
    return measure_majority(workload.labels) if workload.kind == "classify" else 0.0


def judge(
    verdicts: Sequence[bool | None], values: Sequence[float], baseline: float
) -> tuple[bool, bool | None]:
    """Say whether a side has learned, and whether all metrics are within noise.

    Two sides that only name the majority class agree in everything and show nothing,
    so there is no verdict on them.

    Args:
        verdicts: `within_one_sd` of the metrics.
        values: mean of each side in the first metric.
        baseline: of `find_baseline`.
    """
    has_learned = max(values) > baseline + 1e-9  # means are rounded
    if not has_learned or None in verdicts:
        return has_learned, None
    return has_learned, all(verdicts)
