"""Entities against a reader that goes word by word, and cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbert.evaluation import (
    bootstrap_interval,
    bootstrap_intervals,
    measure_answers,
    measure_entities,
)
from kbert.evaluation.answers import normalize_answer, score_answer
from kbert.evaluation.entities import (
    build_tag_rules,
    find_entities,
    match_entities,
    split_tag,
)

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", *(f"{p}-{t}" for t in ("PER", "LOC") for p in "BIES"))


def read_word_by_word(tags: list[str]) -> list[tuple[int, int, str]]:
    """Read a sentence's entities as conlleval does, holding one open at a time."""
    entities, first, open_type, before = [], None, None, "O"
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        goes_on = (
            first is not None
            and kind == open_type
            and prefix in ("I", "E")
            and before not in ("E", "S")
        )
        if first is not None and not goes_on:
            entities.append((first, place, open_type))
            first = None
        if prefix != "O" and first is None:
            first, open_type = place, kind
        before = prefix
    if first is not None:
        entities.append((first, len(tags), open_type))
    return entities


def flatten(sentences, names):
    ids = {name: label for label, name in enumerate(names)}
    flat = np.array([ids[tag] for tags in sentences for tag in tags], np.int64)
    return flat, np.cumsum([0, *map(len, sentences)])


def read_at_once(sentences, names):
    flat, offsets = flatten(sentences, names)
    rules = build_tag_rules(names)
    found = find_entities(flat, offsets, rules)
    return [
        (int(start), int(stop), rules.types[kind])
        for start, stop, kind in zip(
            found.starts, found.stops, found.types, strict=True
        )
    ]


def tagged(names):
    return st.lists(
        st.lists(st.sampled_from(names), max_size=9), min_size=1, max_size=5
    )


@settings(deadline=None)
@given(st.one_of(tagged(BIO), tagged(BIOES)))
def test_entities_are_those_of_a_reader_word_by_word(sentences):
    offsets = np.cumsum([0, *map(len, sentences)])
    expected = [
        (start + first, start + stop, kind)
        for start, tags in zip(offsets.tolist(), sentences, strict=False)
        for first, stop, kind in read_word_by_word(tags)
    ]
    assert read_at_once(sentences, BIOES) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BIO), st.sampled_from(BIO)), min_size=1))
def test_figures_are_those_of_sets_of_entities(pairs):
    true, found = [list(tags) for tags in zip(*pairs, strict=True)]
    labels, offsets = flatten([true], BIO)
    predictions, _ = flatten([found], BIO)
    metrics = measure_entities(labels, predictions, offsets, BIO, num_bootstrap=0)
    one, two = set(read_word_by_word(true)), set(read_word_by_word(found))
    both = len(one & two)
    assert metrics["precision"]["value"] == pytest.approx(both / max(len(two), 1))
    assert metrics["recall"]["value"] == pytest.approx(both / max(len(one), 1))
    f1 = 2 * both / max(len(one) + len(two), 1)
    assert metrics["f1"]["value"] == pytest.approx(f1)
    same = np.mean([a == b for a, b in pairs])
    assert metrics["accuracy"]["value"] == pytest.approx(same)
    for row in metrics["per_type"]:
        count = sum(kind == row["type"] for *_, kind in one & two)
        assert row["num_entities"] == sum(kind == row["type"] for *_, kind in one)
        assert row["recall"] == pytest.approx(count / max(row["num_entities"], 1))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER O", [(0, 2, "PER")]),  # IOB1, or an I- without a B-
        ("I-PER B-PER I-PER", [(0, 1, "PER"), (1, 3, "PER")]),
        ("B-PER I-LOC", [(0, 1, "PER"), (1, 2, "LOC")]),
        ("S-PER E-PER I-PER", [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "PER")]),
        ("B-PER I-PER E-PER S-LOC", [(0, 3, "PER"), (3, 4, "LOC")]),
        ("B-PER L-PER U-LOC", [(0, 2, "PER"), (2, 3, "LOC")]),  # BILOU
        ("B I O B", [(0, 2, ""), (3, 4, "")]),
    ],
)
def test_tags_out_of_order_are_read_as_conlleval_reads_them(tags, expected):
    tags = tags.split()
    assert read_at_once([tags], ("O", *sorted(set(tags) - {"O"}))) == expected


def test_no_entity_reaches_into_the_next_sentence():
    sentences = [["B-PER"], [], ["I-PER", "I-PER"]]
    assert read_at_once(sentences, BIO) == [(0, 1, "PER"), (1, 3, "PER")]


def test_the_example_of_seqevals_readme_worked_by_hand():
    # Of MISC the first word is wrong, PER is right: one of two either way.
    names = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER")
    true = ["O O O B-MISC I-MISC I-MISC O".split(), "B-PER I-PER O".split()]
    found = ["O O B-MISC I-MISC I-MISC I-MISC O".split(), "B-PER I-PER O".split()]
    labels, offsets = flatten(true, names)
    predictions, _ = flatten(found, names)
    metrics = measure_entities(labels, predictions, offsets, names, seed=1)
    assert metrics["f1"]["value"] == 0.5
    assert metrics["f1"]["low"] == 0.0 and metrics["f1"]["high"] == 1.0
    assert metrics["accuracy"]["value"] == 0.8
    assert metrics["f1_macro"]["value"] == 0.5
    by_type = {row["type"]: row["f1"] for row in metrics["per_type"]}
    assert by_type == {"MISC": 0.0, "PER": 1.0}
    assert (metrics["num_examples"], metrics["num_words"]) == (2, 10)


def test_without_an_entity_f1_is_0_and_said():
    metrics = measure_entities([0, 0], [0, 0], [0, 2], BIO, num_bootstrap=10)
    assert metrics["f1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert metrics["per_type"] == [] and metrics["f1_macro"]["value"] is None
    assert metrics["notes"] == ["There is no entity among the labels."]


def test_entities_of_different_length_do_not_match():
    rules = build_tag_rules(BIO)
    one = find_entities(np.array([1, 2, 0]), np.array([0, 3]), rules)
    two = find_entities(np.array([1, 0, 1]), np.array([0, 3]), rules)
    assert match_entities(one, two).tolist() == [False, False]
    assert match_entities(one, one).tolist() == [True]


@pytest.mark.parametrize("tag", ["PER", "X-PER", "B-", "BPER", "", "b-PER"])
def test_what_is_no_tag_is_one_sentence(tag):
    with pytest.raises(ValueError, match="neither O nor one of B-"):
        split_tag(tag)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (([0], [0, 0], [0, 1]), "a tag for each word of the sentences, 1"),
        (([0], [7], [0, 1]), r"predictions must lie in \[0, 5\)"),
        (([], [], [0]), "there is no word"),
    ],
)
def test_arrays_that_do_not_fit_are_one_sentence(arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure_entities(*arrays, BIO)


def test_intervals_of_several_figures_are_those_of_each_alone():
    values = np.random.default_rng(0).random((40, 2))
    found = bootstrap_intervals(lambda rows: values[rows].mean(axis=1), 40, seed=3)
    for column, interval in enumerate(found):
        one = values[:, column]
        alone = bootstrap_interval(
            lambda rows, one=one: one[rows].mean(axis=1), 40, seed=3
        )
        assert interval == pytest.approx(alone)


# === Answers ===


def test_answers_are_compared_without_case_punctuation_and_articles():
    assert normalize_answer("The  U.S.\tof a\nkind!") == "us of kind"
    assert normalize_answer("theory") == "theory"


@pytest.mark.parametrize(
    ("given_answer", "right", "expected"),
    [
        ("the Broncos", ["Denver Broncos", "broncos."], (1, 1)),
        ("Denver", ["Denver Broncos"], (0, 2 / 3)),
        ("a cat sat down", ["the cat sat"], (0, 4 / 5)),
        ("Carolina", ["Denver Broncos"], (0, 0)),
        ("very very good", ["very good"], (0, 4 / 5)),
        ("", [], (1, 1)),
        ("Denver", [], (0, 0)),
        ("", ["Denver"], (0, 0)),
        ("the", ["a"], (1, 1)),
    ],
)
def test_scores_worked_by_hand_with_squads_rules(given_answer, right, expected):
    assert score_answer(given_answer, right) == pytest.approx(expected)


def test_answers_are_measured_with_and_without_an_answer():
    answers = [["Denver Broncos"], ["gold"], []]
    metrics = measure_answers(answers, ["Denver", "gold", "x"], num_bootstrap=200)
    assert metrics["exact_match"]["value"] == pytest.approx(1 / 3)
    assert metrics["f1"]["value"] == pytest.approx((2 / 3 + 1) / 3)
    assert metrics["exact_match_answerable"]["value"] == 0.5
    assert metrics["f1_unanswerable"]["value"] == 0
    assert metrics["num_unanswerable"] == 1
    low, high = metrics["f1"]["low"], metrics["f1"]["high"]
    assert 0 <= low < metrics["f1"]["value"] < high <= 1
    assert "f1_answerable" not in measure_answers([["a b"]], ["b"], num_bootstrap=0)


def test_predictions_that_are_too_few_are_one_sentence():
    with pytest.raises(ValueError, match="received 1 for 2"):
        measure_answers([["a"], ["b"]], ["a"])
