"""Baselines, slices and confusions of scores, tagged words and answers."""

from types import SimpleNamespace

import numpy as np
import pytest

from kbert import evaluation
from kbert.evaluation.answer_baseline import (
    NOTHING_NAME,
    answer_by_overlap,
    compare_answers_with_baseline,
)
from kbert.evaluation.entity_confusions import find_entity_confusions
from kbert.evaluation.tag_baseline import (
    compare_tags_with_baseline,
    predict_frequent_tags,
)
from kbert.tasks.answer_judge import AnswerJudge

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


class Part:
    def __init__(self, texts, labels, pairs=None):
        self.texts, self.labels, self.text_pairs = texts, np.array(labels), pairs

    def __len__(self):
        return len(self.texts)


# === Several labels ===


def test_where_labels_have_thresholds_the_baseline_chooses_its_own():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 30, (400, 6))
    labels = (words[:, :3] < [3, 5, 8]).astype(np.int64)  # a word is in several places
    texts = [" ".join(f"w{one}" for one in row) for row in words]
    ends = {"train": (0, 200), "validation": (200, 300), "test": (300, 400)}
    parts = {name: Part(texts[a:b], labels[a:b]) for name, (a, b) in ends.items()}
    splits = SimpleNamespace(**parts)

    def measure(thresholds):
        found = evaluation.compare_with_baseline(
            splits, np.full((100, 3), 0.4), thresholds=thresholds, num_bootstrap=10
        )
        return found["figures"]["f1_micro"]["baseline"]

    plain, chosen = measure(None), measure([0.3] * 3)
    assert chosen > plain
    splits.validation = None
    assert measure([0.3] * 3) == plain  # there is nothing to choose them by


# === Scores ===


def test_scores_of_words_are_learnt_and_compared_by_the_squared_error():
    words = ["bad film", "good film", "fine plot", "dull plot"] * 20
    labels = [0.0, 3.0, 2.0, 1.0] * 20
    splits = SimpleNamespace(
        train=Part(words, labels), validation=None, test=Part(words, labels)
    )
    worse = np.full(80, 1.5)
    found = evaluation.compare_scores_with_baseline(splits, worse, num_bootstrap=50)
    assert found["verdict"] == "worse" and found["split"] == "test"
    assert "TF-IDF + ridge regression is better" in found["sentence"]
    row = found["figures"]["mean_squared_error"]
    assert row["model"] == 1.25 and row["baseline"] < 0.1
    assert row["difference"]["low"] > 0
    assert found["figures"]["pearson"]["model"] is None  # all predictions are equal
    right = evaluation.compare_scores_with_baseline(splits, labels, num_bootstrap=50)
    assert right["verdict"] == "better" and "beats the baseline" in right["sentence"]


def test_of_pairs_the_baseline_knows_how_alike_they_are():
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(300)]
    first = [" ".join(generator.choice(words, 4)) for _ in range(120)]
    alike = generator.integers(0, 2, 120)
    others = [" ".join(generator.choice(words, 4)) for _ in range(120)]
    second = [a if same else b for a, b, same in zip(first, others, alike, strict=True)]
    parts = [
        Part(first[rows], alike[rows] * 2.0, second[rows])
        for rows in (slice(80), slice(80, None))
    ]
    splits = SimpleNamespace(train=parts[0], validation=None, test=parts[1])
    found = evaluation.compare_scores_with_baseline(
        splits, np.zeros(40), num_bootstrap=20
    )
    assert found["figures"]["pearson"]["baseline"] > 0.8


def test_the_largest_errors_come_first():
    found = evaluation.find_largest_errors(
        [1.0, 2.0, 3.0], [1.5, 2.0, 1.0], ["a", "b", "c"], rows=[7, 8, 9], limit=2
    )
    assert [(one["row"], one["error"]) for one in found] == [(9, -2.0), (7, 0.5)]
    assert found[0]["text"] == "c" and found[0]["predicted"] == 1.0


def test_slices_of_errors_begin_with_the_largest():
    errors = np.r_[np.full(30, 0.1), np.full(30, 2.0)] + np.tile([0.0, 0.1], 30)
    found = evaluation.slice_errors("error", errors, ["a"] * 30 + ["b"] * 30)
    assert [row["group"] for row in found] == ["b", "a"]
    assert found[0]["is_worse"] and not found[1]["is_worse"]
    assert found[0]["difference"] == pytest.approx(1.9)
    row = found[0]["error"]
    assert row["value"] == pytest.approx(2.05) and row["low"] < 2.05 < row["high"]


def test_a_share_counts_cases_not_rows():
    """Two entities of a sentence are two cases; what has too few is left out."""
    found = evaluation.slice_shares(
        "f1", [2, 0, 5, 1], ["a", "a", "b", "c"], cases=[20, 5, 30, 3]
    )
    assert [(row["group"], row["num_examples"]) for row in found] == [
        ("a", 2), ("b", 1)
    ]  # fmt: skip
    assert found[0]["f1"]["value"] == pytest.approx(2 / 25)


# === Tagged words ===


def test_words_get_the_tag_they_had_most_often_and_new_ones_none():
    train = ["Paris", "Paris", "Paris", "in"]
    found = predict_frequent_tags(train, [1, 3, 1, 0], ["in", "Paris", "Rome"], TAGS)
    assert found.tolist() == [0, 1, 0]


def test_a_tagger_is_compared_by_its_entities():
    labels = np.tile([1, 0, 3, 4], 30)
    offsets = np.arange(0, 121, 4)
    frequent = np.tile([1, 0, 3, 0], 30)  # half of the entities
    found = compare_tags_with_baseline(
        labels, labels, frequent, offsets, TAGS, split="test", num_bootstrap=50
    )
    assert found["verdict"] == "better" and found["num_examples"] == 30
    assert found["figures"]["f1"]["baseline"] == 0.5
    assert found["figures"]["accuracy"]["baseline"] == 0.75
    none = np.zeros(120, int)
    found = compare_tags_with_baseline(
        labels, none, frequent, offsets, TAGS, split="test", num_bootstrap=50
    )
    assert found["verdict"] == "worse"
    assert "entity F1 0.000 against 0.500" in found["sentence"]


def test_entities_are_taken_for_others_missed_cut_and_made_up():
    words = "Ann saw New York and Rome then Bob left Bonn".split()
    labels = [3, 0, 1, 2, 0, 1, 0, 3, 0, 1]
    given = [3, 3, 1, 0, 0, 3, 0, 0, 0, 1]
    found = find_entity_confusions(
        labels, given, [0, 6, 10], TAGS, words, probabilities=np.full(10, 0.9),
        rows=[40, 41],
    )  # fmt: skip
    seen = {
        (one["label_name"], one["predicted_name"]): (
            one["count"], one["share"], one["examples"][0]["entity"],
            one["examples"][0]["row"],
        )
        for one in found
    }  # fmt: skip
    assert seen == {
        ("LOC", "LOC from or to another word"): (1, 1 / 3, "New York", 40),
        ("LOC", "PER"): (1, 1 / 3, "Rome", 40),
        ("PER", "nothing"): (1, 0.5, "Bob", 41),
        ("nothing", "PER"): (1, None, "saw", 40),
    }
    assert found[0]["examples"][0]["text"].endswith(("York and Rome", "left Bonn"))
    assert not find_entity_confusions(
        labels, labels, [0, 6, 10], TAGS, words, probabilities=np.ones(10)
    )


# === Answers ===


def test_the_sentence_that_shares_most_words_is_the_answer():
    text = "The war began in 1914. It ended in 1918, in Europe!\nPeace came."
    assert answer_by_overlap("when was it ended", text) == (
        "It ended in 1918, in Europe!"
    )
    assert answer_by_overlap("Which peace?", text) == "Peace came."
    assert answer_by_overlap("why", text) == "The war began in 1914."
    assert answer_by_overlap("why", "  \n ") == ""


def test_answers_are_compared_with_that_sentence_or_with_none_where_none_is_better():
    questions = ["what is red", "what is blue"] * 20
    texts = ["red it is. blue it is not."] * 40
    right = [["red it is"], ["blue it is not"]] * 20
    found = compare_answers_with_baseline(
        (questions, texts, right), questions, texts, right, ["red"] * 40,
        split="test", num_bootstrap=50,
    )  # fmt: skip
    assert found["verdict"] == "worse"
    assert found["figures"]["exact_match"]["baseline"] == 1
    none: list[list[str]] = [[]] * 40
    found = compare_answers_with_baseline(
        (questions, texts, none), questions, texts, none, [""] * 40,
        split="test", num_bootstrap=50,
    )  # fmt: skip
    assert found["name"] == NOTHING_NAME and found["verdict"] == "level"


def test_questions_are_grouped_by_their_question_word():
    part = SimpleNamespace(
        questions=["Who was she?", "In how many days", "How", "Name it", "Whose is it"],
        contexts=["a b"] * 5,
    )
    groups = AnswerJudge().group(None, part, ())
    assert groups["question word"] == ["who", "how many", "how", "another", "whose"]
    assert groups["length of the text"] == ["2 words"] * 5
