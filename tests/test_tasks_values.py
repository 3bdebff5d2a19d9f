"""Labels that are no classes: how they are read, and what models of them measure."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

import kbert
from kbert import evaluation
from kbert.data.values import choose_separator, read_lists
from kbert.tasks import find_task

TEXTS = [f"text {i}" for i in range(6)]
NAMES = ("hot", "new", "red")
ROWS = ["hot;new", "", "red", "new", "hot; red;hot", "hot"]
TABLE = np.array(
    [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0]], "float32"
)


def several(labels, **options):
    source = labels if isinstance(labels, pd.DataFrame) else (TEXTS, labels)
    return kbert.load_split(source, **{"label": "label", "kind": "several"} | options)


@pytest.mark.parametrize(
    "labels",
    [
        ROWS,
        [row.replace(";", "|") or None for row in ROWS],
        [row.replace(";", ",") for row in ROWS],
        pd.DataFrame({"text": TEXTS, "label": [r.split(";") for r in ROWS]}),
        [str([name.strip() for name in r.split(";") if name]) for r in ROWS],
        [json.dumps([name for name in r.split(";") if name]) for r in ROWS],
    ],
    ids=["semicolons", "bars", "commas", "lists", "Python's text", "JSON's text"],
)
def test_several_labels_are_read_from_every_shape(labels):
    part = several(labels)
    assert part.label_names == NAMES and part.labels.dtype == np.float32
    np.testing.assert_array_equal(part.labels, TABLE)
    np.testing.assert_array_equal(part[2:4].labels, TABLE[2:4])


@given(st.lists(st.lists(st.text(min_size=1), max_size=4), min_size=1, max_size=9))
@settings(deadline=None)
def test_lists_that_were_written_as_text_are_read_as_they_were(rows):
    for write in (str, json.dumps):
        assert read_lists([write(row) for row in rows]) == rows
    assert read_lists([*map(str, rows), "[no list"]) is None
    assert read_lists([*map(str, rows), "[open(1)]"]) is None
    assert read_lists([""] * len(rows)) is None


@given(st.lists(st.lists(st.sampled_from(["a", "b c", "d'e", 'f"g']), max_size=4)))
@settings(deadline=None)
def test_arrays_that_were_written_as_text_are_read_with_all_their_strings(rows):
    rows = [*rows, ["a", "b"]]
    texts = [str(np.array(row, object)) for row in rows]
    assert read_lists(texts) == rows
    assert read_lists(["['a'\n 'b']"]) == [["a", "b"]]


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (["Food, drink;Sport", "Sport", "Food, drink"], ("Food, drink", "Sport")),
        (["a,b", "b,c", "a", "c,a", "b", "c;b", "c"], ("a", "b", "c", "c;b")),
    ],
    ids=["comma in a name", "stray semicolon"],
)
def test_the_mark_between_labels_is_found_once_in_train(rows, names):
    train, other = (TEXTS + ["more"])[: len(rows)], (["x", "y"], [names[0], names[-1]])
    splits = kbert.load_splits((train, rows), validation=other, kind="several")
    assert splits.label_names == names
    assert splits.validation.labels.sum() == 2


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a;b"), ("a;b", "c|d", "e, f")])
def test_labels_that_are_written_part_again_whatever_their_names_hold(names):
    rows = [[], *([name] for name in names), list(names)]
    part = several(pd.DataFrame({"text": TEXTS[: len(rows)], "label": rows}))
    written = find_task("multilabel").name_labels(part, part.label_names)
    mark = choose_separator(part.label_names)
    again = [row.split(mark) if row else [] for row in written]
    assert again == rows


def test_columns_of_0_and_1_are_labels_in_their_order():
    flags = {name: TABLE[:, i].astype(int) for i, name in enumerate(NAMES)}
    table = pd.DataFrame({"text": TEXTS, "red": flags["red"], "hot": flags["hot"]})
    part = several(table, label=("red", "hot"))
    assert part.label_names == ("red", "hot")
    np.testing.assert_array_equal(part.labels, TABLE[:, [2, 0]])
    assert set(part.to_pandas().columns) == {"text", "red", "hot", "row"}


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (ROWS, {"label_names": ("hot", "new")}, "'red' in row 2.*not among the labels"),
        (["one"] * 6, {}, "1 different labels, and several are needed"),
        (ROWS, {"kind": "scores"}, "must hold numbers; row 0 has 'hot;new'"),
        (ROWS, {"kind": "scored"}, "kind must be one of classes, several, scores"),
        (["1", "2", None, "3", "4", "5"], {"kind": "scores"}, "null in row 2"),
        ([1, 2, float("inf"), 3, 4, 5], {"kind": "scores"}, "row 2 has inf"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_row(labels, options, words):
    with pytest.raises(ValueError, match=words):
        several(labels, **options)


def test_a_flag_that_is_none_is_refused_by_row():
    table = pd.DataFrame({"text": TEXTS, "a": [0, 1, 2, 0, 1, 0], "b": [0, 1] * 3})
    with pytest.raises(ValueError, match="column 'a'.*row 2 has 2"):
        several(table, label=("a", "b"))


def test_scores_are_read_as_they_are_and_split_at_random():
    scores = [str(i / 4) for i in range(40)]
    splits = kbert.load_splits(
        ([f"text {i}" for i in range(40)], scores), test=0.25, kind="scores"
    )
    assert splits.label_names == () and len(splits.test) == 10
    expected = [row / 4 for row in splits.train.rows]
    np.testing.assert_array_equal(splits.train.labels, np.float32(expected))


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        (["3"] * 6, "scores", "one score only, 3"),
        (["a;b", "a", "b", "a", "b", "a"], "several", "'c'.*has no row to train on"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from_are_refused(labels, kind, words):
    with pytest.raises(ValueError, match=words):
        kbert.load_splits((TEXTS, labels), label_names=["a", "b", "c"], kind=kind)


LABELLED = st.integers(2, 4).flatmap(
    lambda k: st.lists(
        st.tuples(
            st.lists(st.integers(0, 1), min_size=k, max_size=k),
            st.lists(
                st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), min_size=k, max_size=k
            ),
        ),
        min_size=2,
        max_size=12,
    )
)


@given(LABELLED)
@settings(max_examples=60, deadline=None)
def test_figures_of_several_labels_are_scikit_learns(rows):
    labels, probabilities = (np.array(column) for column in zip(*rows, strict=True))
    names = [str(i) for i in range(labels.shape[1])]
    found = evaluation.compute_several_metrics(
        labels, probabilities, names, num_bootstrap=0
    )
    predicted = probabilities >= evaluation.DEFAULT_THRESHOLD
    expected = {
        "f1_micro": metrics.f1_score(
            labels, predicted, average="micro", zero_division=0
        ),
        "f1_macro": metrics.f1_score(
            labels, predicted, average="macro", zero_division=0
        ),
        "subset_accuracy": metrics.accuracy_score(labels, predicted),
        "ranking_precision": metrics.label_ranking_average_precision_score(
            labels, probabilities
        ),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name


@given(LABELLED)
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_has_a_higher_f1(rows):
    labels, probabilities = (np.array(column) for column in zip(*rows, strict=True))
    thresholds = evaluation.choose_thresholds(labels, probabilities)
    for column, threshold in enumerate(thresholds):
        own, scores = labels[:, column], probabilities[:, column]
        if own.min() == own.max():
            assert threshold == evaluation.DEFAULT_THRESHOLD
            continue
        best = max(metrics.f1_score(own, scores >= t) for t in np.unique(scores))
        assert metrics.f1_score(own, scores >= threshold) == pytest.approx(best)


def test_figures_of_scores_are_scipys_with_intervals_around_them():
    generator = np.random.default_rng(0)
    labels = generator.normal(size=200)
    predictions = labels + generator.normal(size=200)
    found = evaluation.compute_score_metrics(labels, predictions, num_bootstrap=200)
    expected = {
        "pearson": stats.pearsonr(labels, predictions).statistic,
        "spearman": stats.spearmanr(labels, predictions).statistic,
        "mean_squared_error": metrics.mean_squared_error(labels, predictions),
        "mean_absolute_error": metrics.mean_absolute_error(labels, predictions),
    }
    for name, value in expected.items():
        row = found[name]
        assert row["value"] == pytest.approx(value) and row["low"] < value < row["high"]
    flat = evaluation.compute_score_metrics(labels, np.zeros(200), num_bootstrap=20)
    assert (
        flat["pearson"]["value"] is None and "predictions are equal" in flat["notes"][0]
    )


@pytest.mark.parametrize(
    ("labels", "predictions", "words"),
    [
        ([1, 2], [1], "same|shape"),
        ([1, float("nan")], [1, 2], "labels must be finite; row 1"),
        ([], [], "at least 1"),
    ],
)
def test_scores_that_are_none_are_refused(labels, predictions, words):
    with pytest.raises(ValueError, match=words):
        evaluation.compute_score_metrics(labels, predictions)
