"""Measure a classifier, a tagger or answers: metrics with intervals, mistakes.

Beside the figures stands what says how far to trust them: temperature scaling,
thresholds, slices of the rows and a baseline.

Everything here takes class ids and probabilities as NumPy arrays, so it measures
kbert's models and any other alike.
"""

from kbert.evaluation.answers import measure_answers
from kbert.evaluation.baseline import (
    compare_scores_with_baseline,
    compare_with_baseline,
    find_measured_part,
)
from kbert.evaluation.bootstrap import (
    bootstrap_interval,
    bootstrap_intervals,
    percentile_interval,
    resample_rows,
)
from kbert.evaluation.calibration import (
    NUM_BINS,
    ReliabilityCurve,
    expected_calibration_error,
    reliability_curve,
)
from kbert.evaluation.confusions import find_confusions
from kbert.evaluation.curves import PrecisionRecall, precision_recall_points
from kbert.evaluation.entities import measure_entities
from kbert.evaluation.metrics import compute_metrics
from kbert.evaluation.mistakes import find_largest_errors, find_mistakes
from kbert.evaluation.regression import compute_score_metrics
from kbert.evaluation.scores import (
    accuracy,
    batch_mean_accuracy,
    confusion_matrix,
    log_loss,
    matthews_correlation,
    per_class_table,
    precision_recall_f1,
    roc_auc,
)
from kbert.evaluation.several import choose_thresholds, compute_several_metrics
from kbert.evaluation.slices import (
    group_lengths,
    group_values,
    slice_errors,
    slice_metrics,
    slice_shares,
    wilson_interval,
)
from kbert.evaluation.temperature import (
    calibrate,
    fit_temperature,
    fold_temperature,
    measure_calibration,
    scale_probabilities,
)
from kbert.evaluation.thresholds import (
    DEFAULT_THRESHOLD,
    ThresholdCurve,
    ThresholdRule,
    decide,
    shift_to_half,
    threshold_curve,
)
from kbert.evaluation.views import average_views

__all__ = [
    "DEFAULT_THRESHOLD",
    "NUM_BINS",
    "PrecisionRecall",
    "ReliabilityCurve",
    "ThresholdCurve",
    "ThresholdRule",
    "accuracy",
    "average_views",
    "batch_mean_accuracy",
    "bootstrap_interval",
    "choose_thresholds",
    "bootstrap_intervals",
    "calibrate",
    "compare_scores_with_baseline",
    "compare_with_baseline",
    "compute_metrics",
    "compute_score_metrics",
    "compute_several_metrics",
    "confusion_matrix",
    "decide",
    "expected_calibration_error",
    "find_confusions",
    "find_largest_errors",
    "find_measured_part",
    "find_mistakes",
    "fit_temperature",
    "fold_temperature",
    "group_lengths",
    "group_values",
    "log_loss",
    "measure_answers",
    "measure_entities",
    "matthews_correlation",
    "measure_calibration",
    "per_class_table",
    "percentile_interval",
    "precision_recall_f1",
    "precision_recall_points",
    "reliability_curve",
    "resample_rows",
    "roc_auc",
    "scale_probabilities",
    "shift_to_half",
    "slice_errors",
    "slice_metrics",
    "slice_shares",
    "threshold_curve",
    "wilson_interval",
]
