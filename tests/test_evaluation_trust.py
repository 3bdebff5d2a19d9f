"""Temperatures, thresholds, slices, confusions and the baseline, against references."""

import numpy as np
import pytest
import tiny
from scipy import optimize, special
from sklearn import metrics

import kbert
from kbert import evaluation


def make_rows(num_rows=600, num_classes=3, sharpness=3.0, seed=0):
    """Return labels and the probabilities of a model that is too sure of itself."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=num_rows)
    logits = generator.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += 1
    return labels, special.softmax(sharpness * logits, axis=1), sharpness * logits


def make_flags(num_rows=400, seed=0):
    """Return independent labels and the logits of a model that is too sure."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(num_rows, 3))
    labels = generator.random((num_rows, 3)) < special.expit(logits)
    return labels.astype(int), 4 * logits


# === Temperature ===


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_the_temperature_is_where_scipy_finds_the_least_loss(num_classes, sharpness):
    labels, probabilities, logits = make_rows(400, num_classes, sharpness)

    def loss(temperature):
        scaled = special.softmax(logits / temperature, axis=1)
        return metrics.log_loss(labels, scaled, labels=range(num_classes))

    best = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    assert evaluation.fit_temperature(labels, probabilities) == pytest.approx(
        best, rel=1e-3
    )
    assert evaluation.fit_temperature(labels, logits=logits) == pytest.approx(
        best, rel=1e-3
    )


def test_of_independent_labels_too():
    labels, logits = make_flags()

    def loss(temperature):
        return metrics.log_loss(
            labels.ravel(), special.expit(logits / temperature).ravel()
        )

    best = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    found = evaluation.fit_temperature(labels, special.expit(logits))
    assert found == pytest.approx(best, rel=1e-3) and found > 2


def test_it_is_scikit_learns():
    calibration = pytest.importorskip("sklearn.calibration")
    scaling = getattr(calibration, "_TemperatureScaling", None)
    if scaling is None:
        pytest.skip("this scikit-learn has no temperature scaling")
    labels, probabilities, logits = make_rows()
    theirs = 1 / scaling().fit(logits, labels).beta_
    temperature = evaluation.fit_temperature(labels, logits=logits)
    assert temperature == pytest.approx(theirs, rel=1e-3)
    ours = evaluation.scale_probabilities(probabilities, temperature)
    np.testing.assert_allclose(ours, special.softmax(logits / theirs, 1), atol=1e-3)


def test_rows_that_are_all_right_leave_probabilities_alone():
    assert evaluation.fit_temperature([0, 1], [[0.9, 0.1], [0.2, 0.8]]) == 1.0
    assert evaluation.fit_temperature([[0, 1]], [[0.1, 0.8]]) == 1.0


def test_certain_and_wrong_is_finite():
    found = evaluation.fit_temperature([0, 1, 1], np.float32([[0, 1], [0, 1], [0, 1]]))
    assert 1 < found <= 20.001


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "pass probabilities or logits, one of them"),
        ({"logits": [[np.nan, 1]]}, "logits must be finite"),
        ({"probabilities": [[3.0, 1.0]]}, "Pass softmax outputs, not logits"),
    ],
)
def test_bad_input_to_a_temperature_is_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluation.fit_temperature([0], **arguments)


def test_a_temperature_must_be_above_nothing():
    with pytest.raises(ValueError, match="temperature must be above 0; received 0"):
        evaluation.scale_probabilities([[0.5, 0.5]], 0)


# === Built into a model ===


@pytest.fixture(scope="module")
def splits():
    texts, labels = tiny.write_texts(240, seed=3)
    # A tenth of the labels is turned round, so that no model is always right.
    labels = np.where(np.random.default_rng(0).random(240) < 0.1, 1 - labels, labels)
    names = np.array(["negative", "positive"])[labels]
    return kbert.load_splits((texts, list(names)), validation=0.3, test=0.3)


@pytest.fixture(scope="module")
def trained(splits):
    model = tiny.build_model(dropout=0.0, optimizer=kbert.adamw(1e-2))
    model.fit(splits.train, epochs=6, batch_size=16, verbose=0)
    evaluation.fold_temperature(model, 0.25)  # far too sure of itself
    model.metadata.clear()
    return model, tiny.read_weights(model)


@pytest.fixture
def model(trained):
    model, weights = trained
    model.set_weights(weights)
    model.metadata.clear()
    return model


def test_calibration_is_built_into_the_last_layer(model, splits, tmp_path):
    part, before = splits.validation, model.predict(splits.test)
    raw = model.predict(part)
    found = evaluation.calibrate(model, part)
    temperature = found["temperature"]
    assert temperature > 1.5 and model.metadata["temperature"] == temperature
    expected = evaluation.scale_probabilities(before, temperature)
    np.testing.assert_allclose(model.predict(splits.test), expected, atol=1e-5)
    assert found["num_examples"] == len(part)
    assert found["before"] == evaluation.measure_calibration(part.labels, raw)
    now = evaluation.measure_calibration(part.labels, model.predict(part))
    assert found["after"]["log_loss"] == pytest.approx(now["log_loss"], abs=1e-5)
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    model.save(tmp_path / "model.keras")
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert loaded.metadata["temperature"] == temperature
    np.testing.assert_allclose(loaded.predict(splits.test), expected, atol=1e-5)
    again = evaluation.calibrate(model, part)
    assert again["temperature"] == pytest.approx(1, abs=1e-3)
    assert model.metadata["temperature"] == pytest.approx(temperature, rel=1e-3)


def test_of_independent_labels_every_logit_is_divided(splits):
    import keras

    model = tiny.build_model(
        dropout=0.0, head=keras.layers.Dense(2, activation="sigmoid"), compile=False
    )
    before = model.predict(splits.test)
    evaluation.fold_temperature(model, 2.5)
    expected = evaluation.scale_probabilities(before, 2.5, independent=True)
    np.testing.assert_allclose(model.predict(splits.test), expected, atol=1e-5)


def test_a_model_that_ends_otherwise_is_refused_and_unchanged(splits):
    import keras

    model = tiny.build_model(head=keras.layers.Dense(2), compile=False)
    before = tiny.read_weights(model)
    with pytest.raises(ValueError, match="this one ends in Dense with linear"):
        evaluation.calibrate(model, splits.validation)
    tiny.assert_same_weights(model, before)
    with pytest.raises(ValueError, match="these have no labels"):
        unlabelled = kbert.load_split(["the film is good"])
        evaluation.calibrate(tiny.build_model(compile=False), unlabelled)


# === Thresholds ===


def test_every_threshold_has_scikit_learns_figures():
    generator = np.random.default_rng(1)
    labels = generator.random(300) < 0.3
    scores = np.round(special.expit(generator.normal(size=300) + 2 * labels), 2)
    curve = evaluation.threshold_curve(
        labels, scores, cost_false_positive=2, cost_false_negative=5
    )
    assert isinstance(curve, evaluation.ThresholdCurve)
    assert len(curve.thresholds) == len(np.unique(scores)) + 1
    for index, threshold in enumerate(curve.thresholds):
        chosen = scores >= threshold
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            labels, chosen, average="binary", zero_division=0.0
        )
        cost = (2 * (chosen & ~labels).sum() + 5 * (labels & ~chosen).sum()) / 300
        found = curve.describe(index)
        assert found == pytest.approx(
            {
                "threshold": threshold, "precision": precision, "recall": recall,
                "f1": f1, "cost": cost, "num_chosen": chosen.sum(),
                "accuracy": (chosen == labels).mean(),
            }
        )  # fmt: skip
        assert curve.measure(threshold) == found
    assert curve.f1[curve.best()] == curve.f1.max()
    assert curve.cost[curve.best("cost")] == curve.cost.min()


def test_dear_misses_lower_the_threshold():
    labels, probabilities, _ = make_rows(num_classes=2, sharpness=1.0)
    thresholds = [
        curve.thresholds[curve.best("cost")]
        for cost in (0.2, 1, 5)
        if (
            curve := evaluation.threshold_curve(
                labels, probabilities[:, 1], cost_false_negative=cost
            )
        )
    ]
    assert thresholds[0] > thresholds[1] > thresholds[2]


def test_a_threshold_stands_away_from_every_score():
    curve = evaluation.threshold_curve([0, 0, 1, 1], [0.1, 0.2, 0.6, 1.0])
    assert curve.thresholds[curve.best()] == pytest.approx(0.4)
    assert curve.measure(0.5)["f1"] == 1.0
    assert curve.measure(1.1)["num_chosen"] == 0


@pytest.mark.parametrize(
    ("labels", "scores", "costs", "sentence"),
    [
        ([0, 1], [0.5], {}, "one value a row"),
        ([0, 2], [0.5, 0.5], {}, "labels must be 0 or 1; row 1 has 2"),
        ([0, 1], [0.5, 1.5], {}, "row 1 has 1.5. Pass what model.predict returns"),
        ([0, 1], [0.5, 0.5], {"cost_false_positive": -1}, "must be at least 0"),
        (
            [0, 1],
            [0.5, 0.5],
            {"cost_false_positive": 0, "cost_false_negative": 0},
            "both are 0",
        ),
    ],
)
def test_bad_input_to_a_threshold_is_a_sentence(labels, scores, costs, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluation.threshold_curve(labels, scores, **costs)


def test_another_rule_than_those_there_are_is_refused():
    with pytest.raises(ValueError, match="by must be 'f1', 'accuracy' or 'cost'"):
        evaluation.threshold_curve([0, 1], [0.2, 0.7]).best("recall")
    for wrong in ("recall", 1, 0.0, True, None):
        with pytest.raises(ValueError, match="f1, accuracy, cost or a number between"):
            evaluation.ThresholdRule(wrong)
    with pytest.raises(ValueError, match="cost_false_negative must be at least 0"):
        evaluation.ThresholdRule("cost", cost_false_negative=-1)


def test_a_rule_chooses_the_threshold_or_is_one():
    labels, pairs, _ = make_rows(num_classes=2)
    scores = pairs[:, 1]
    curve = evaluation.threshold_curve(labels, scores)
    right = [((scores >= one) == labels).mean() for one in curve.thresholds]
    np.testing.assert_allclose(curve.accuracy, right)
    chosen = evaluation.ThresholdRule("accuracy").choose(curve)
    assert ((scores >= chosen) == labels).mean() == max(right)
    assert evaluation.ThresholdRule(0.3).choose(curve) == 0.3


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.7, 1.0])
def test_decisions_at_half_of_shifted_probabilities_are_those_at_the_threshold(
    threshold,
):
    second = np.r_[0, np.random.default_rng(0).random(50), threshold, 1]
    pairs = np.stack([1 - second, second], axis=1)
    expected = second >= threshold
    shifted = evaluation.shift_to_half(pairs, threshold)
    np.testing.assert_array_equal(shifted.argmax(axis=1), expected)
    np.testing.assert_array_equal(evaluation.decide(pairs, threshold), expected)
    np.testing.assert_array_equal(shifted.sum(axis=1), 1)
    columns = evaluation.shift_to_half(pairs, [threshold, 0.5])
    np.testing.assert_array_equal(columns[:, 1] >= 0.5, second >= 0.5)
    np.testing.assert_array_equal(columns[:, 0] >= 0.5, pairs[:, 0] >= threshold)
    np.testing.assert_array_equal(evaluation.shift_to_half(pairs), pairs)


def test_figures_of_decisions_follow_the_threshold_and_others_do_not():
    labels, pairs, _ = make_rows(num_classes=2)
    scores = pairs[:, 1]
    names = ["no", "yes"]
    usual, moved = (
        evaluation.compute_metrics(
            labels, pairs, names, threshold=one, num_bootstrap=50
        )
        for one in (None, 0.2)
    )
    guess = scores >= 0.2
    assert moved["accuracy"]["value"] == (guess == labels).mean()
    assert moved["recall"]["value"] == metrics.recall_score(labels, guess)
    assert moved["confusion_matrix"] == metrics.confusion_matrix(labels, guess).tolist()
    low, high = (moved["accuracy"][end] for end in ("low", "high"))
    assert low < moved["accuracy"]["value"] < high
    for name in ("log_loss", "roc_auc", "expected_calibration_error"):
        assert moved[name] == usual[name]
    texts = [f"text {row}" for row in range(len(labels))]
    wrong = evaluation.find_mistakes(
        labels, pairs, texts, names, threshold=0.2, limit=999
    )
    assert {one["row"] for one in wrong} == set(np.flatnonzero(guess != labels))
    pairs_taken = evaluation.find_confusions(labels, pairs, texts, names, threshold=0.2)
    assert sum(one["count"] for one in pairs_taken) == len(wrong)


# === Slices ===


def test_a_planted_weak_slice_comes_first():
    labels, probabilities, _ = make_rows(900, sharpness=5.0)
    groups = np.array(["a", "b", "c"])[np.arange(900) % 3].tolist()
    weak = np.arange(900) % 3 == 1
    probabilities[weak] = np.roll(probabilities[weak], 1, axis=1)
    found = evaluation.slice_metrics(labels, probabilities, groups)
    assert [row["group"] for row in found][0] == "b" and len(found) == 3
    assert found[0]["is_worse"] and found[0]["difference"] < -0.2
    right = probabilities.argmax(axis=1) == labels
    assert found[0]["accuracy"]["value"] == pytest.approx(right[weak].mean())
    assert found[0]["log_loss"] == pytest.approx(
        metrics.log_loss(labels[weak], probabilities[weak], labels=range(3))
    )
    assert not found[-1]["is_worse"]


def test_small_groups_are_left_out_and_missing_values_are_one():
    labels, probabilities, _ = make_rows(60)
    groups = ["x"] * 30 + [None] * 25 + ["y"] * 5
    found = evaluation.slice_metrics(labels, probabilities, groups)
    assert {row["group"]: row["num_examples"] for row in found} == {
        "x": 30, "(missing)": 25
    }  # fmt: skip
    assert not evaluation.slice_metrics(labels, probabilities, groups, min_rows=100)
    (whole,) = evaluation.slice_metrics(labels, probabilities, ["all"] * 60)
    assert whole["difference"] is None and not whole["is_worse"]


def test_a_row_of_independent_labels_is_right_as_a_whole():
    labels, probabilities = np.tile([1, 0], (40, 1)), np.tile([0.9, 0.6], (40, 1))
    (found,) = evaluation.slice_metrics(labels, probabilities, ["all"] * 40)
    assert found["accuracy"]["value"] == 0


def test_intervals_are_wilsons():
    stats = pytest.importorskip("scipy.stats")
    for right, rows in ((0, 20), (17, 20), (950, 1000), (20, 20)):
        theirs = stats.binomtest(right, rows).proportion_ci(method="wilson")
        share, low, high = evaluation.wilson_interval(right, rows)
        assert (share, low, high) == pytest.approx(
            (right / rows, theirs.low, theirs.high), abs=1e-6
        )


def test_lengths_make_groups_of_about_as_many_rows():
    lengths = np.random.default_rng(0).integers(3, 300, size=1_000)
    names = evaluation.group_lengths(lengths)
    counts = {name: names.count(name) for name in set(names)}
    assert len(counts) == 4 and min(counts.values()) > 200
    assert names[int(lengths.argmin())].startswith("3 to ")
    assert names[int(lengths.argmax())].endswith(f"{lengths.max()} tokens")
    assert set(evaluation.group_lengths([7] * 9)) == {"7 tokens"}
    assert evaluation.group_lengths([]) == []


def test_columns_make_groups():
    assert evaluation.group_values(["de", None, "en"]) == ["de", "(missing)", "en"]
    assert evaluation.group_values([1, 2, float("nan")]) == ["1", "2", "(missing)"]
    assert evaluation.group_values([True, False]) == ["True", "False"]
    numbers = evaluation.group_values([None, *np.arange(100.0)])
    assert numbers[0] == "(missing)" and len(set(numbers)) == 5
    assert "1990 to 2014" in evaluation.group_values(list(range(1990, 2090)))
    assert evaluation.group_values([]) == []


def test_slices_need_a_group_a_row():
    labels, probabilities, _ = make_rows(30)
    with pytest.raises(ValueError, match="received 2 for 30 rows"):
        evaluation.slice_metrics(labels, probabilities, ["a", "b"])
    with pytest.raises(ValueError, match="num_bins must be at least 1"):
        evaluation.group_lengths([1], num_bins=0)


# === Confusions ===


def test_confusions_are_counted_with_the_surest_rows():
    labels = np.array([0, 0, 0, 0, 1, 2])
    probabilities = np.array(
        [[0.9, 0.1, 0], [0.1, 0.9, 0], [0.4, 0.6, 0], [0.1, 0, 0.9], [0.8, 0.2, 0],
         [0, 0, 1]]
    )  # fmt: skip
    texts = [f"text {row}" for row in range(6)]
    found = evaluation.find_confusions(
        labels, probabilities, texts, ["a", "b", "c"], rows=np.arange(100, 106)
    )
    assert [(one["label_name"], one["predicted_name"]) for one in found] == [
        ("a", "b"), ("a", "c"), ("b", "a")
    ]  # fmt: skip
    assert found[0]["count"] == 2 and found[0]["share"] == 0.5
    assert [one["row"] for one in found[0]["examples"]] == [101, 102]
    assert found[0]["examples"][0] == {"row": 101, "text": "text 1", "probability": 0.9}
    assert not evaluation.find_confusions([0], [[1, 0]], ["x"], ["a", "b"])
    with pytest.raises(ValueError, match="texts must have one value a row"):
        evaluation.find_confusions([0], [[1, 0]], [], ["a", "b"])


# === The baseline ===


def test_the_baseline_is_trained_and_measured_beside_the_model(splits):
    name, part = evaluation.find_measured_part(splits)
    assert name == "test" and part is splits.test
    chance = np.full((len(part), 2), 0.5)
    found = evaluation.compare_with_baseline(splits, chance, num_bootstrap=200)
    assert found["verdict"] == "worse" and found["split"] == "test"
    assert found["sentence"].startswith("This model does not beat the baseline: TF-IDF")
    accuracy = found["figures"]["accuracy"]
    assert accuracy["model"] == (part.labels == 0).mean() and accuracy["baseline"] > 0.8
    difference = accuracy["difference"]
    assert difference["low"] < difference["value"] < difference["high"] < 0
    assert found["figures"]["f1_macro"]["model"] == pytest.approx(
        metrics.f1_score(part.labels, np.zeros(len(part)), average="macro")
    )
    assert found["figures"]["log_loss"]["model"] == pytest.approx(np.log(2))


def test_a_model_that_is_right_beats_it_and_one_like_it_does_not(splits):
    part = splits.test
    right = np.eye(2)[part.labels]
    found = evaluation.compare_with_baseline(splits, right, num_bootstrap=200)
    assert found["verdict"] == "better" and "beats the baseline" in found["sentence"]
    same = np.eye(2)[part.labels ^ (np.arange(len(part)) % 10 == 0)]
    found = evaluation.compare_with_baseline(splits, same, num_bootstrap=200)
    assert found["verdict"] == "level"
    assert "does not beat the baseline" in found["sentence"]


def test_the_bootstrap_is_paired(splits, monkeypatch):
    """Of two models right on the same rows the difference has no width at all."""
    labels = splits.test.labels
    same = np.eye(2)[labels]
    monkeypatch.setattr("kbert.evaluation.baseline._classify", lambda *_: [same])
    found = evaluation.compare_with_baseline(splits, same, num_bootstrap=50)
    accuracy = found["figures"]["accuracy"]
    assert accuracy["difference"] == {"value": 0, "low": 0, "high": 0}


LIKELIER = "Both take the likelier label here, whatever threshold the model has."


def test_beside_the_baseline_both_take_the_likelier_class(splits):
    """A threshold is chosen by a rule that the baseline knows nothing of."""
    labels = splits.test.labels
    low = np.where(labels == 1, 0.3, 0.1)
    probabilities = np.stack([1 - low, low], axis=1)
    for threshold, words in ((None, ""), (0.2, LIKELIER)):
        found = evaluation.compare_with_baseline(
            splits, probabilities, thresholds=threshold, num_bootstrap=20
        )
        assert found["figures"]["accuracy"]["model"] == (labels == 0).mean()
        assert found["decided"] == words


def test_pairs_and_independent_labels_have_a_baseline_too():
    class Part:
        def __init__(self, seed):
            texts, labels = tiny.write_texts(80, seed)
            self.texts, self.text_pairs = ["the film"] * 80, texts
            # Of floats, as independent labels are trained on.
            self.labels = np.stack([labels, 1 - labels, np.ones(80)], axis=1)

        def __len__(self):
            return 80

    class Parts:
        train, validation, test = Part(0), Part(1), None

    probabilities = np.full((80, 3), 0.4)
    found = evaluation.compare_with_baseline(Parts, probabilities, num_bootstrap=50)
    assert found["split"] == "validation"
    assert found["figures"]["accuracy"]["baseline"] == 1.0
    # Nothing is given from 0.5, all of it from 0.4.
    assert found["figures"]["f1_micro"]["model"] == 0
    assert found["verdict"] == "worse" and "micro F1" in found["sentence"]
    found = evaluation.compare_with_baseline(
        Parts, probabilities, thresholds=[0.4] * 3, num_bootstrap=50
    )
    assert found["figures"]["f1_micro"]["model"] == pytest.approx(0.8)
    assert "the baseline the best by F1 on" in found["decided"]


def test_there_must_be_rows_and_words(splits):
    class Parts:
        train, validation, test = splits.train, None, None

    with pytest.raises(ValueError, match="no labelled rows beside the training part"):
        evaluation.compare_with_baseline(Parts, [[0.5, 0.5]])
    wordless = kbert.load_splits((["!", "?", "!!", "??"] * 5, [0, 1] * 10), test=0.3)
    with pytest.raises(ValueError, match="hold no words"):
        evaluation.compare_with_baseline(wordless, np.full((6, 2), 0.5))
