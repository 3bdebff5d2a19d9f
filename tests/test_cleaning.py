"""Cleaning: named steps, their two orders, and the figures of the tweets experiment."""

import csv

import numpy as np
import pytest

from kbert.cleaning import (
    CLEANINGS,
    STEPS,
    clean_text,
    describe_cleaning,
    load_stop_words,
    resolve_cleaning,
)
from kbert.text import Preprocessor, Tokenizer


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("lowercase", "Our DEEDS", "our deeds"),
        ("remove_urls", "see http://t.co/ab1c now https://x.y", "see  now "),
        ("remove_html_tags", "a <b>bold</b> <3 move", "a bold <3 move"),
        ("keep_letters_and_marks", "13,000 #wild-fires?!", " , wild fires?!"),
        ("keep_letters_and_marks", "¿qué 🔥", "¿qu "),
        ("remove_punctuation", 'it\'s, (a) "test" ~\\', 'its, a "test" ~\\'),
        ("remove_stop_words", "This is  the\n Reason", "Reason"),
        ("remove_emoji", "fire 🔥🚒 now ❤", "fire  now "),
    ],
)
def test_each_step_does_what_its_name_says(step, text, expected):
    assert STEPS[step](text) == expected
    assert clean_text(text, [step]) == expected


def test_fixed_removes_urls_that_documented_leaves_in_pieces():
    tweet = "Flood! <b>Help</b> http://t.co/ab1c 🔥 &amp; run"
    assert clean_text(tweet) == "flood help amp run"
    assert clean_text(tweet, "documented") == "flood b help b http tco ab c amp run"
    assert clean_text(tweet, "none") == tweet


def test_both_orders_have_the_same_steps():
    assert sorted(CLEANINGS["fixed"]) == sorted(CLEANINGS["documented"])
    assert set(CLEANINGS["fixed"]) == set(STEPS)
    assert CLEANINGS["none"] == ()


def test_emoji_do_not_glue_words_together():
    assert clean_text("fire🔥storm") == "fire storm"


def test_stop_words_are_the_179_of_nltk():
    words = load_stop_words()
    assert len(words) == 179
    assert {"i", "the", "don't", "wouldn't"} <= words


def test_stop_words_equal_the_published_list(shared_data):
    path = shared_data("vocab") / "english-stop-words.txt"
    assert load_stop_words() == set(path.read_text(encoding="utf-8").split())


def test_named_steps_and_own_functions_compose_in_order():
    cleaning = ["lowercase", lambda text: text.replace("cat", "DOG"), "remove_urls"]
    assert clean_text("CAT http://cat.com", cleaning) == "DOG "
    assert clean_text("CAT", []) == "CAT"


def test_no_cleaning_has_no_steps():
    assert resolve_cleaning(None) == resolve_cleaning("none") == ()


def test_cleaning_an_empty_text_is_empty():
    assert clean_text("") == clean_text("", "documented") == ""


@pytest.mark.parametrize(
    ("cleaning", "message"),
    [
        ("fixd", r"unknown cleaning 'fixd'\. Did you mean 'fixed'\?"),
        ("xyz", r"unknown cleaning 'xyz'\. Choose from none, fixed, documented\."),
        (["remove_url"], r"unknown cleaning step 'remove_url'\. Did you mean"),
        (["lowercase", 3], r"must be a name or a function; received 3\."),
        (str.lower, r"received <method 'lower' .*Put a single function in a list\."),
    ],
)
def test_an_unknown_cleaning_is_one_sentence(cleaning, message):
    with pytest.raises(ValueError, match=message):
        clean_text("text", cleaning)


def test_a_cleaning_is_described_by_names():
    assert describe_cleaning(None) is None
    assert describe_cleaning("fixed") == "fixed"
    assert describe_cleaning(("lowercase", STEPS["remove_urls"])) == [
        "lowercase",
        "remove_urls",
    ]


def test_own_code_cannot_be_described():
    with pytest.raises(ValueError, match=r"step 'lower' is code, which a saved model"):
        describe_cleaning(["remove_urls", str.lower])


# === The figures of the tweets experiment, on the real file ===


@pytest.fixture(scope="module")
def tweets(shared_data):
    """Texts of both parts, by name."""
    texts = {}
    for part in ("train", "test"):
        path = shared_data("tweets") / f"{part}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            texts[part] = [row["text"] for row in csv.DictReader(file)]
    return texts


@pytest.fixture(scope="module")
def vocabulary(shared_data):
    """Lines of bert-base-uncased's vocabulary."""
    path = shared_data("vocab") / "bert-base-uncased-vocab.txt"
    return path.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    """Tokenizer of bert-base-uncased."""
    return Tokenizer.from_wordpiece_vocabulary(vocabulary)


@pytest.mark.parametrize("cleaning", ["documented", "fixed"])
def test_rows_0_and_3_are_cleaned_as_documented(tweets, tokenizer, cleaning):
    row_0 = clean_text(tweets["train"][0], cleaning)
    assert row_0 == "deeds reason earthquake may allah forgive us"
    row_3 = clean_text(tweets["train"][3], cleaning)
    assert row_3 == ", people receive wildfires evacuation orders california"
    encoded = Preprocessor(tokenizer, max_length=45).encode([row_0])
    expected = [101, 15616, 3114, 8372, 2089, 16455, 9641, 2149, 102]
    assert encoded.ids.tolist() == expected


WITHOUT_FIRST_PATTERN = tuple(
    step for step in CLEANINGS["documented"] if step != "keep_letters_and_marks"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cleaning", "longest", "mean", "longest_test"),
    [
        ("documented", 45, 19.4, 44),
        ("fixed", 45, 14.2, 44),
        ("none", 84, 33.1, 73),
        (WITHOUT_FIRST_PATTERN, 53, 15.4, 47),
    ],
)
def test_lengths_are_the_documented_ones(
    tweets, tokenizer, vocabulary, cleaning, longest, mean, longest_test
):
    transformers = pytest.importorskip("transformers")
    ids = {token: index for index, token in enumerate(vocabulary)}
    theirs = transformers.BertTokenizerFast(vocab=ids)
    ours = Preprocessor(tokenizer, max_length=512, clean=cleaning)
    encoded = ours.encode(tweets["train"])
    cleaned = [clean_text(text, cleaning) for text in tweets["train"]]
    expected = [len(row) for row in theirs(cleaned)["input_ids"]]
    np.testing.assert_array_equal(encoded.lengths, expected)
    assert encoded.lengths.max() == longest
    assert round(float(encoded.lengths.mean()), 1) == mean
    assert ours.encode(tweets["test"]).lengths.max() == longest_test
