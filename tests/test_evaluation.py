"""Metrics against scikit-learn, against cases done by hand, and their properties."""

import json
import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kbert import evaluation
from kbert.evaluation import resampled
from kbert.evaluation.inputs import check_probabilities

AVERAGES = ("binary", "macro", "weighted")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def make_case(num_rows: int, num_classes: int, seed: int = 0):
    """Labels and probabilities of a fair classifier; every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.r_[
        np.arange(num_classes), rng.integers(num_classes, size=num_rows - num_classes)
    ]
    logits = rng.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += 1
    return labels, softmax(logits)


@st.composite
def cases(draw):
    num_rows, num_classes = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    # Few distinct values, so that ties and exact 0 and 1 happen.
    weights = draw(
        hnp.arrays(np.int64, (num_rows, num_classes), elements=st.integers(0, 4))
    )
    weights[np.arange(num_rows), weights.argmax(axis=1)] += weights.sum(axis=1) == 0
    labels = draw(
        hnp.arrays(np.int64, num_rows, elements=st.integers(0, num_classes - 1))
    )
    return labels, weights / weights.sum(axis=1, keepdims=True)


def names_of(probabilities: np.ndarray) -> list[str]:
    return [f"class {i}" for i in range(probabilities.shape[1])]


# === Single metrics ===


def test_a_case_done_by_hand():
    labels = [0, 0, 1, 1, 1]
    positive = np.array([0.2, 0.7, 0.9, 0.6, 0.1])
    probabilities = np.stack([1 - positive, positive], axis=1)
    metrics = evaluation.compute_metrics(labels, probabilities, ["no", "yes"])
    value = {
        k: v["value"]
        for k, v in metrics.items()
        if isinstance(v, dict) and "value" in v
    }
    assert metrics["confusion_matrix"] == [[1, 1], [1, 2]]
    assert value["accuracy"] == pytest.approx(3 / 5)
    assert value["precision"] == value["recall"] == value["f1"] == pytest.approx(2 / 3)
    assert value["f1_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert value["f1_weighted"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 3) / 5)
    losses = [0.8, 0.3, 0.9, 0.6, 0.1]
    assert value["log_loss"] == pytest.approx(-np.log(losses).mean())
    assert value["matthews_correlation"] == pytest.approx(1 / 6)
    assert value["roc_auc"] == pytest.approx(3 / 6)
    assert metrics["num_examples"] == 5


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_metrics_are_scikit_learns(num_classes):
    labels, probabilities = make_case(300, num_classes)
    predicted = probabilities.argmax(axis=1)
    assert evaluation.accuracy(labels, probabilities) == sk.accuracy_score(
        labels, predicted
    )
    assert evaluation.log_loss(labels, probabilities) == pytest.approx(
        sk.log_loss(labels, probabilities)
    )
    assert evaluation.matthews_correlation(labels, probabilities) == pytest.approx(
        sk.matthews_corrcoef(labels, predicted)
    )
    for average in AVERAGES[1:] if num_classes > 2 else AVERAGES:
        expected = sk.precision_recall_fscore_support(
            labels, predicted, average=average
        )
        found = evaluation.precision_recall_f1(labels, probabilities, average=average)
        assert found == pytest.approx(expected[:3])
    scores = probabilities if num_classes > 2 else probabilities[:, 1]
    assert evaluation.roc_auc(labels, probabilities) == pytest.approx(
        sk.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    )
    matrix = evaluation.confusion_matrix(labels, probabilities)
    assert (matrix == sk.confusion_matrix(labels, predicted)).all()


def test_log_loss_of_an_impossible_label_is_finite():
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0]])
    expected = sk.log_loss([1, 0], probabilities)
    assert evaluation.log_loss([1, 0], probabilities) == pytest.approx(expected)


def test_batch_mean_accuracy_is_the_mean_over_batches():
    labels = np.array([0, 0, 0, 0, 0])
    probabilities = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, 1]], float)
    found = evaluation.batch_mean_accuracy(labels, probabilities, batch_size=2)
    assert found == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert evaluation.batch_mean_accuracy(
        labels, probabilities, batch_size=99
    ) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="batch_size must be at least 1; received 0"):
        evaluation.batch_mean_accuracy(labels, probabilities, batch_size=0)


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.62, 0.38]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [0] * 5 + [1] * 5)
    expected = (abs(0.7 - 0.9) + abs(0.5 - 0.62)) / 2
    found = evaluation.expected_calibration_error(labels, probabilities)
    assert found == pytest.approx(expected)


def test_a_reliability_curve_counts_every_row_once():
    labels, probabilities = make_case(500, 3)
    curve = evaluation.reliability_curve(labels, probabilities)
    assert isinstance(curve, evaluation.ReliabilityCurve)
    assert curve.counts.sum() == 500 and len(curve.edges) == evaluation.NUM_BINS + 1
    filled = curve.counts > 0
    assert (np.isnan(curve.accuracies) == ~filled).all()
    middle = curve.confidences[filled]
    assert (curve.edges[:-1][filled] < middle + 1e-12).all()
    assert (middle <= curve.edges[1:][filled] + 1e-12).all()


def test_precision_recall_points_are_scikit_learns():
    labels, probabilities = make_case(200, 2)
    points = evaluation.precision_recall_points(labels, probabilities)
    assert isinstance(points, evaluation.PrecisionRecall)
    precision, recall, thresholds = sk.precision_recall_curve(
        labels, probabilities[:, 1]
    )
    np.testing.assert_allclose(points.precision, precision[:-1])
    np.testing.assert_allclose(points.recall, recall[:-1])
    np.testing.assert_allclose(points.thresholds, thresholds)
    assert points.prevalence == labels.mean()
    assert evaluation.precision_recall_points([0, 0], probabilities[:2]) is None
    with pytest.raises(ValueError, match=r"label must lie in \[0, 2\); received 2"):
        evaluation.precision_recall_points(labels, probabilities, label=2)


def test_the_class_table_has_every_class():
    labels, probabilities = [0, 0, 1], np.eye(3)[[0, 1, 1]]
    rows = evaluation.per_class_table(labels, probabilities, ["a", "b", "c"])
    assert [row["label_name"] for row in rows] == ["a", "b", "c"]
    assert (rows[0]["precision"], rows[0]["recall"]) == (1, 0.5)
    assert rows[1]["num_predicted"] == 2 and rows[1]["num_examples"] == 1
    assert rows[2] == {
        "label": 2, "label_name": "c", "precision": 0, "recall": 0, "f1": 0,
        "num_examples": 0, "num_predicted": 0,
    }  # fmt: skip


# === All of them ===


def test_a_class_without_rows_leaves_roc_auc_undefined_and_says_so():
    labels, probabilities = make_case(50, 3)
    labels = np.where(labels == 2, 0, labels)
    metrics = evaluation.compute_metrics(labels, probabilities, ["a", "b", "c"])
    auc = metrics["roc_auc"]
    assert auc["value"] is auc["low"] is auc["high"] is None
    assert "'c' has no row" in auc["note"] and metrics["notes"] == [auc["note"]]
    json.dumps(metrics, allow_nan=False)


def test_binary_metrics_are_for_two_classes():
    labels, probabilities = make_case(50, 3)
    metrics = evaluation.compute_metrics(labels, probabilities, ["a", "b", "c"])
    assert "f1" not in metrics and "f1_macro" in metrics
    with pytest.raises(ValueError, match="'binary' is for two classes; received 3"):
        evaluation.precision_recall_f1(labels, probabilities, average="binary")


def test_many_classes_are_measured_without_a_matrix():
    labels, probabilities = make_case(600, 300)
    names = names_of(probabilities)
    metrics = evaluation.compute_metrics(labels, probabilities, names, num_bootstrap=5)
    assert metrics["confusion_matrix"] is None and len(metrics["per_class"]) == 300


def test_the_seed_decides_the_intervals():
    labels, probabilities = make_case(80, 2)

    def measure(seed):
        return evaluation.compute_metrics(
            labels, probabilities, ["a", "b"], num_bootstrap=200, seed=seed
        )

    assert measure(1) == measure(1) != measure(2)


def test_intervals_can_be_left_out():
    labels, probabilities = make_case(80, 2)
    metrics = evaluation.compute_metrics(
        labels, probabilities, ["a", "b"], num_bootstrap=0
    )
    assert metrics["accuracy"]["low"] is None and metrics["accuracy"]["value"] > 0.5


def test_low_precision_probabilities_are_taken_as_they_are_meant():
    labels, probabilities = make_case(80, 4)
    coarse = (probabilities * 256).round().astype(np.float32) / 256
    exact = evaluation.log_loss(labels, coarse / coarse.sum(axis=1, keepdims=True))
    assert evaluation.log_loss(labels, coarse) == pytest.approx(exact)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_whatever_the_case_the_result_is_finite_json_in_range(case):
    labels, probabilities = case
    metrics = evaluation.compute_metrics(
        labels, probabilities, names_of(probabilities), num_bootstrap=10
    )
    json.dumps(metrics, allow_nan=False)
    for name, found in metrics.items():
        if not isinstance(found, dict) or found.get("value") is None:
            continue
        lowest = -1 if name == "matthews_correlation" else 0
        highest = 40 if name == "log_loss" else 1
        for end in ("value", "low", "high"):
            if found[end] is not None:
                assert lowest - 1e-9 <= found[end] <= highest + 1e-9, (name, found)
    assert np.sum(metrics["confusion_matrix"]) == len(labels)
    assert sum(row["num_examples"] for row in metrics["per_class"]) == len(labels)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_resampled_metrics_of_the_rows_themselves_are_the_metrics(case):
    labels, probabilities = case
    metrics = evaluation.compute_metrics(
        labels, probabilities, names_of(probabilities), batch_size=3, num_bootstrap=0
    )
    predicted = probabilities.argmax(axis=1)
    measure = resampled._build_measure(labels, probabilities, predicted, 3, 1)
    found = measure(np.arange(len(labels))[None])
    for name, values in found.items():
        value = metrics[name]["value"]
        if value is not None:
            assert values[0] == pytest.approx(value, abs=1e-9), name


def test_equal_scores_stay_equal_whatever_the_other_classes_have():
    probabilities = np.array([[3, 2, 2, 2], [2, 2, 3, 2], [2, 3, 2, 2]]) / 9
    assert len(set(probabilities.sum(axis=1))) > 1, "rounding no longer matters here"
    labels = [3, 2, 1]
    # Of class 3 all scores are equal: an area of a half, as scikit-learn has it.
    checked = check_probabilities(probabilities)
    assert sk.roc_auc_score([1, 0, 0], checked[:, 3]) == 0.5
    np.testing.assert_array_equal(checked, probabilities)
    assert evaluation.accuracy(labels, probabilities) == pytest.approx(2 / 3)


@settings(max_examples=20, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_rows_matters_to_batches_only(case, random):
    labels, probabilities = case
    order = list(range(len(labels)))
    random.shuffle(order)
    one, other = (
        evaluation.compute_metrics(y, p, names_of(p), num_bootstrap=0)
        for y, p in (case, (labels[order], probabilities[order]))
    )
    del one["batch_mean_accuracy"], other["batch_mean_accuracy"]
    for name, found in one.items():
        if isinstance(found, dict) and isinstance(found.get("value"), float):
            assert other[name]["value"] == pytest.approx(found["value"])
        elif name != "per_class":
            assert other[name] == found


# === Bootstrap ===


def test_an_interval_agrees_with_the_normal_approximation():
    rng = np.random.default_rng(0)
    correct = rng.random(2000) < 0.8
    low, high = evaluation.bootstrap_interval(
        lambda rows: correct[rows].mean(axis=1), len(correct), num_bootstrap=2000
    )
    deviation = math.sqrt(correct.mean() * (1 - correct.mean()) / len(correct))
    assert (high - low) / 2 == pytest.approx(1.96 * deviation, rel=0.08)
    assert (high + low) / 2 == pytest.approx(correct.mean(), abs=deviation / 5)


def test_memory_is_bounded_by_blocks():
    blocks = list(evaluation.resample_rows(1 << 20, num_bootstrap=9))
    assert [block.shape for block in blocks] == [
        (4, 1 << 20),
        (4, 1 << 20),
        (1, 1 << 20),
    ]


def test_an_interval_of_mostly_undefined_resamples_is_none():
    assert evaluation.percentile_interval(np.array([np.nan, np.nan, 1.0])) is None
    low, high = evaluation.percentile_interval(np.array([np.nan, 1.0, 2.0, 3.0]))
    assert 1 <= low < high <= 3
    with pytest.raises(ValueError, match="level must lie between 0 and 1; received 95"):
        evaluation.percentile_interval(np.ones(3), level=95)


# === Mistakes ===


def test_mistakes_come_surest_first():
    labels = [0, 1, 0, 1]
    probabilities = [[0.4, 0.6], [0.1, 0.9], [0.05, 0.95], [0.7, 0.3]]
    found = evaluation.find_mistakes(
        labels,
        probabilities,
        ["a", "b", "c" * 5000, "d"],
        ["no", "yes"],
        rows=[7, 8, 9, 10],
    )
    assert [mistake["row"] for mistake in found] == [9, 10, 7]
    first = found[0]
    assert (first["label_name"], first["predicted_name"]) == ("no", "yes")
    assert first["probability"] == pytest.approx(0.95)
    assert first["label_probability"] == pytest.approx(0.05)
    assert len(first["text"]) == 2000 and first["num_characters"] == 5000
    json.dumps(found)
    assert (
        len(evaluation.find_mistakes(labels, probabilities, "abcd", "ny", limit=1)) == 1
    )


def test_a_perfect_model_has_no_mistakes():
    assert evaluation.find_mistakes([0, 1], np.eye(2), ["a", "b"], ["x", "y"]) == []


def test_mistakes_of_pairs_have_both_texts():
    found = evaluation.find_mistakes(
        [1], [[0.9, 0.1]], ["a"], ["x", "y"], text_pairs=["b"]
    )
    assert found[0]["text_pair"] == "b"
    with pytest.raises(ValueError, match="texts must have one value a row; received 2"):
        evaluation.find_mistakes([1], [[0.9, 0.1]], ["a", "b"], ["x", "y"])


# === Bad input ===

HALF = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("labels", "probabilities", "sentence"),
    [
        ([0, 2], HALF, r"labels must lie in \[0, 2\); row 1 has 2\."),
        ([-1, 0], HALF, r"row 0 has -1"),
        ([0.0, 1.0], HALF, "labels must be class ids .* received dtype float64"),
        (["a", "b"], HALF, "labels must be class ids"),
        ([[0], [1]], HALF, r"received shape \(2, 1\)"),
        ([0], HALF, "same number of rows; received 1 and 2"),
        ([], np.zeros((0, 2)), "labels are empty"),
        ([0, 1], [0.5, 0.5], r"shape \(n, num_classes\).*received shape \(2,\)"),
        ([0, 0], [[1.0], [1.0]], "two classes or more"),
        ([0, 1], [[2.0, -1.0], [0.5, 0.5]], r"row 0 is \[2, -1\]"),
        ([0, 1], [[0.5, 0.5], [3.0, 1.0]], r"row 1 is \[3, 1\]. Pass softmax outputs"),
        ([0, 1], [[0.5, 0.5], [np.nan, 1.0]], r"row 1 is \[nan, 1\]"),
        ([0, 1], [["a", "b"], ["c", "d"]], "probabilities must be numbers"),
    ],
)
def test_wrong_arrays_are_one_clear_sentence(labels, probabilities, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluation.compute_metrics(labels, probabilities, ["a", "b"])


def test_names_must_fit_the_classes():
    with pytest.raises(
        ValueError, match="must name all 2 classes; received 3: a, b, c"
    ):
        evaluation.compute_metrics([0, 1], HALF, ["a", "b", "c"])


def test_a_negative_number_of_resamples_is_refused():
    with pytest.raises(
        ValueError, match="num_bootstrap must be at least 0; received -1"
    ):
        evaluation.compute_metrics([0, 1], HALF, ["a", "b"], num_bootstrap=-1)


def test_every_public_name_is_documented():
    for name in evaluation.__all__:
        value = getattr(evaluation, name)
        assert not callable(value) or value.__doc__
