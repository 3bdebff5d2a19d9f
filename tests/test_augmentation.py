"""Changed texts, views of texts, and the mean over views."""

import numpy as np
import pytest

from kbert.augmentation import (
    KINDS,
    augment_texts,
    drop_words,
    make_views,
    swap_words,
)
from kbert.evaluation import average_views

LONG = [" ".join(f"w{number}" for number in range(5_000))]
TEXT = "a quiet film that stays with you"


def test_words_are_left_out_in_their_share_and_stay_in_order():
    (text,) = drop_words(LONG, 0.2, seed=3)
    numbers = [int(word[1:]) for word in text.split()]
    assert numbers == sorted(set(numbers))
    assert 0.17 < 1 - len(numbers) / 5_000 < 0.23


def test_swapped_words_are_all_there_and_one_place_from_home():
    (text,) = swap_words(LONG, 0.2, seed=3)
    numbers = np.array([int(word[1:]) for word in text.split()])
    assert sorted(numbers) == list(range(5_000))
    moved = np.abs(numbers - np.arange(5_000))
    assert moved.max() == 1
    # Of each word that has not moved a fifth swaps, which moves two.
    assert 0.30 < moved.mean() < 0.37


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    texts = [TEXT, "another text of some more words than that", TEXT]
    once = augment_texts(texts, kind, share=0.3, seed=5)
    assert once == augment_texts(texts, kind, share=0.3, seed=5)
    assert once != augment_texts(texts, kind, share=0.3, seed=6)
    assert once[0] != once[2], "each text has draws of its own"
    assert texts == [TEXT, "another text of some more words than that", TEXT]


def test_both_swaps_by_other_draws_than_it_drops_by():
    """With the same draws only words that are left out would change places."""
    dropped = drop_words(LONG, 0.2, seed=3)
    assert augment_texts(LONG, "both", share=0.2, seed=3) != swap_words(
        dropped, 0.2, seed=3
    )


def test_the_documented_example():
    assert augment_texts([TEXT], "swap", seed=4) == ["a quiet film stays that with you"]


@pytest.mark.parametrize("change", [drop_words, swap_words])
def test_nothing_is_changed_where_nothing_can_be(change):
    assert change(["", " ", "word", TEXT], 0.0) == ["", " ", "word", TEXT]
    assert change([], 0.5) == []
    assert change(["", "word"], 0.99) == ["", "word"]


def test_one_word_of_a_text_always_stays():
    assert all(text for text in drop_words([TEXT] * 200, 0.99))


@pytest.mark.parametrize("change", [drop_words, swap_words])
@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(change, share):
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\); received"):
        change([TEXT], share)


def test_a_text_alone_is_refused():
    with pytest.raises(ValueError, match="received one str, 'a quiet film"):
        drop_words(TEXT)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="drop, swap, both; received 'synonyms'"):
        augment_texts([TEXT], "synonyms")


def test_the_first_view_is_the_texts_themselves():
    texts = [TEXT, "an  unusual\tspacing"]
    views = make_views(texts, 4, share=0.4, seed=1)
    assert views[0] == texts and [len(view) for view in views] == [2] * 4
    assert len({view[0] for view in views}) == 4, "no view repeats another"
    assert views == make_views(texts, 4, share=0.4, seed=1)
    assert views[:2] == make_views(texts, 2, share=0.4, seed=1)
    assert make_views(texts, 1) == [texts]


def test_no_view_is_refused():
    with pytest.raises(ValueError, match="num_views must be at least 1; received 0"):
        make_views([TEXT], 0)


def test_the_mean_over_views_is_a_mean_of_probabilities():
    views = [[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.4, 0.6]]]
    np.testing.assert_allclose(average_views(views), [[0.7, 0.3], [0.3, 0.7]])
    np.testing.assert_array_equal(average_views(views[:1]), views[0])
    assert average_views([np.float32(view) for view in views]).dtype == np.float64


def test_views_that_cannot_be_averaged_are_refused():
    view = [[0.9, 0.1], [0.2, 0.8]]
    with pytest.raises(ValueError, match="no views to average"):
        average_views([])
    with pytest.raises(ValueError, match=r"view 0 has the shape \(2, 2\) and view 1"):
        average_views([view, view[:1]])
    with pytest.raises(ValueError, match="Pass softmax outputs, not logits"):
        average_views([view, [[2.0, -1.0], [0.0, 3.0]]])
