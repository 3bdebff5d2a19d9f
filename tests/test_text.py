"""Tokenizing, truncation, padding and ragged rows, on small vocabularies."""

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbert import text as text_module
from kbert.text import INPUT_NAMES, Encoded, Preprocessor, Tokenizer, Truncation

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the quick brown fox ##es jump ##ed . ! a b"
VOCABULARY = WORDS.split()
PAD, UNKNOWN, START, END, MASK = range(5)
ID = {token: index for index, token in enumerate(VOCABULARY)}
BPE_TOKENS = "<s> <pad> </s> <unk> a b ab Ġ Ġa <mask>".split()
BPE = {token: index for index, token in enumerate(BPE_TOKENS)}
MERGES = ["#version: 0.2", "a b", "Ġ a", ""]

words = st.lists(st.sampled_from("the quick fox jumped a b zzz [MASK]".split()))
texts = words.map(" ".join)
rows = st.lists(texts, min_size=1, max_size=6)


@pytest.fixture(scope="module")
def bert():
    """BERT's format with a vocabulary of sixteen tokens."""
    return Tokenizer.from_wordpiece_vocabulary(VOCABULARY)


@pytest.fixture(scope="module")
def roberta():
    """RoBERTa's format with a vocabulary of ten tokens."""
    return Tokenizer.from_bpe(BPE, MERGES)


@pytest.fixture(scope="module")
def transformers_bert():
    """The transformers twin of `bert`."""
    transformers = pytest.importorskip("transformers")
    return transformers.BertTokenizerFast(vocab=ID)


@pytest.fixture(scope="module")
def transformers_roberta():
    """The transformers twin of `roberta`, with the published checkpoints' mask."""
    transformers = pytest.importorskip("transformers")
    mask = transformers.AddedToken("<mask>", lstrip=True, special=True)
    merges = [("a", "b"), ("Ġ", "a")]
    return transformers.RobertaTokenizerFast(
        vocab=dict(BPE), merges=merges, mask_token=mask
    )


def rows_of(encoded):
    """Return the ids of each row as lists."""
    return [encoded[i].ids.tolist() for i in range(len(encoded))]


# === Tokenizer ===


def test_wordpiece_ids_are_those_of_the_vocabulary(bert):
    ids, offsets = bert.tokenize(["The quick foxes!", "", "jumped zzz"])
    names = "the quick fox ##es ! jump ##ed [UNK]".split()
    assert ids.tolist() == [ID[name] for name in names]
    assert offsets.tolist() == [0, 5, 5, 8]
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    assert bert.vocabulary_size == len(VOCABULARY)


def test_an_id_goes_back_to_its_token(bert, roberta):
    assert [bert.id_to_token(i) for i in range(len(VOCABULARY))] == VOCABULARY
    assert roberta.id_to_token(np.int32(BPE["Ġa"])) == "Ġa"
    for outside in (-1, len(VOCABULARY)):
        with pytest.raises(ValueError, match=rf"\[0, 16\); received {outside}\."):
            bert.id_to_token(outside)


def test_special_ids_come_from_the_vocabulary(bert, roberta):
    ids = (bert.start_id, bert.end_id, bert.pad_id, bert.unknown_id)
    assert ids == (START, END, PAD, UNKNOWN)
    ids = (roberta.start_id, roberta.end_id, roberta.pad_id, roberta.unknown_id)
    assert ids == (0, 2, 1, 3)
    assert (bert.pair_separators, roberta.pair_separators) == (1, 2)


def test_a_cased_vocabulary_keeps_case_and_accents():
    vocabulary = [*VOCABULARY, "Été"]
    cased = Tokenizer.from_wordpiece_vocabulary(vocabulary, lowercase=False)
    assert cased.tokenize(["Été"])[0].tolist() == [len(VOCABULARY)]
    stripped = Tokenizer.from_wordpiece_vocabulary(
        [*VOCABULARY, "Ete"], lowercase=False, strip_accents=True
    )
    assert stripped.tokenize(["Été"])[0].tolist() == [len(VOCABULARY)]


def test_vocabulary_may_be_lines_of_a_file():
    lines = Tokenizer.from_wordpiece_vocabulary(f"{word}\r\n" for word in VOCABULARY)
    assert lines == Tokenizer.from_wordpiece_vocabulary(VOCABULARY)


def test_merges_may_be_pairs_or_lines(roberta):
    assert Tokenizer.from_bpe(BPE, [("a", "b"), ["Ġ", "a"]]) == roberta
    assert roberta.tokenize(["ab a"])[0].tolist() == [BPE["ab"], BPE["Ġa"]]


def test_prefix_space_makes_the_first_word_like_any_other():
    tokenizer = Tokenizer.from_bpe(BPE, MERGES, add_prefix_space=True)
    assert tokenizer.tokenize(["a"])[0].tolist() == [BPE["Ġa"]]


@pytest.mark.parametrize(
    "text", ["[MASK] fox [mask]", "[CLS][SEP] a[PAD]b", "[UNK]", "the[MASK]fox"]
)
def test_bert_tokens_inside_a_text_match_transformers(bert, transformers_bert, text):
    ours = Preprocessor(bert, max_length=40).encode([text]).ids.tolist()
    assert ours == transformers_bert(text)["input_ids"]


@pytest.mark.parametrize("text", ["a <mask> b", "a<mask>b", "<s>a</s> b", " a<pad>"])
def test_roberta_tokens_inside_a_text_match_transformers(
    roberta, transformers_roberta, text
):
    ours = Preprocessor(roberta, max_length=40).encode([text]).ids.tolist()
    assert ours == transformers_roberta(text)["input_ids"]


@pytest.mark.parametrize("twin", ["bert", "roberta"])
def test_from_json_reads_what_transformers_writes(request, twin):
    theirs = request.getfixturevalue(f"transformers_{twin}")
    theirs.backend_tokenizer.enable_truncation(3)
    theirs.backend_tokenizer.enable_padding(length=9)
    read = Tokenizer.from_json(theirs.backend_tokenizer.to_str())
    theirs.backend_tokenizer.no_truncation()
    theirs.backend_tokenizer.no_padding()
    built = request.getfixturevalue(twin)
    for name in ("start_id", "end_id", "pad_id", "unknown_id", "pair_separators"):
        if (twin, name) != ("roberta", "pad_id"):
            assert getattr(read, name) == getattr(built, name)
    sample = ["the quick fox jumped", "ab a", ""]
    for ours, expected in zip(
        read.tokenize(sample), built.tokenize(sample), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def with_post_processor(tokenizer, post_processor):
    data = json.loads(tokenizer.json)
    return json.dumps({**data, "post_processor": post_processor})


BERT_PROCESSING = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
ROBERTA_PROCESSING = {
    "type": "RobertaProcessing",
    "sep": ["</s>", 2],
    "cls": ["<s>", 0],
    "trim_offsets": True,
    "add_prefix_space": False,
}


def template(single, pair, ids):
    def piece(name):
        if name.startswith("$"):
            return {"Sequence": {"id": name[1:], "type_id": 0}}
        return {"SpecialToken": {"id": name, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [piece(name) for name in single.split()],
        "pair": [piece(name) for name in pair.split()],
        "special_tokens": {
            name: {"id": name, "ids": [index], "tokens": [name]}
            for name, index in ids.items()
        },
    }


ROBERTA_TEMPLATE = template(
    "<s> $A </s>", "<s> $A </s> </s> $B </s>", {"<s>": 0, "</s>": 2}
)


def test_from_json_reads_every_known_post_processor(bert, roberta):
    assert Tokenizer.from_json(with_post_processor(bert, BERT_PROCESSING)).end_id == 3
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    sequence = {"type": "Sequence", "processors": [byte_level, ROBERTA_TEMPLATE]}
    for post_processor in (ROBERTA_PROCESSING, ROBERTA_TEMPLATE, sequence):
        read = Tokenizer.from_json(with_post_processor(roberta, post_processor))
        assert (read.start_id, read.end_id, read.pair_separators) == (0, 2, 2)
        assert read.pad_id == 1
        assert json.loads(read.json)["post_processor"] is None


@pytest.mark.parametrize(
    "post_processor",
    [
        None,
        {"type": "ByteLevel"},
        {"type": "Sequence", "processors": [{"type": "ByteLevel"}]},
        {"type": "BertProcessing"},
        template("$A", "$A $B", {}),
        template("<s> $A </s>", "<s> $A $B </s>", {"<s>": 0, "</s>": 2}),
        template("<s> $A </s>", "<s> $B </s> $A </s>", {"<s>": 0, "</s>": 2}),
        template("$A </s>", "$A </s> $B </s>", {"</s>": 2}),
        template("<s> $A </s>", "<s> $A </s> $B </s>", {"<s>": 0}),
    ],
)
def test_from_json_refuses_other_formats(roberta, post_processor):
    with pytest.raises(ValueError, match="neither .* Choose a checkpoint"):
        Tokenizer.from_json(with_post_processor(roberta, post_processor))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tokenizer.json is not JSON"),
        ("[]", "must hold a WordPiece or BPE model; received None"),
        ('{"model": {"type": "Unigram"}}', "received 'Unigram'"),
        (
            json.dumps(
                {
                    "model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "[UNK]": 1}},
                    "post_processor": BERT_PROCESSING,
                }
            ),
            "JSON cannot be read",
        ),
        (
            json.dumps(
                {
                    "model": {"type": "WordPiece", "vocab": {"[UNK]": 0}},
                    "post_processor": BERT_PROCESSING,
                }
            ),
            r"no padding token \(looked for \[PAD\], <pad>\)",
        ),
    ],
)
def test_from_json_says_what_is_damaged(text, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_json(text)


def test_a_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"2 tokens lacks \[UNK\], \[CLS\], \[SEP\]\."):
        Tokenizer.from_wordpiece_vocabulary(["[PAD]", "the"])
    with pytest.raises(ValueError, match=r"lacks <s>, </s>, <pad>, <unk>\."):
        Tokenizer.from_bpe({"a": 0}, [])


def test_merges_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"merges\[0\] must be a pair"):
        Tokenizer.from_bpe(BPE, ["a b c"])
    with pytest.raises(ValueError, match="merges do not fit the vocabulary"):
        Tokenizer.from_bpe(BPE, ["x y"])


def test_impossible_fields_are_refused(bert):
    with pytest.raises(ValueError, match="pad_id must be a token id"):
        Tokenizer(bert.json, 2, 3, -1, 1)
    with pytest.raises(ValueError, match="pair_separators must be 1"):
        Tokenizer(bert.json, 2, 3, 0, 1, pair_separators=3)
    with pytest.raises(ValueError, match="JSON cannot be read"):
        Tokenizer("{}", 2, 3, 0, 1).tokenize(["a"])


# === Preprocessor ===


def test_one_text_is_padded_to_max_length(bert):
    arrays = Preprocessor(bert, max_length=6)(["the fox", ""])
    assert list(arrays) == list(INPUT_NAMES)
    expected = [[START, ID["the"], ID["fox"], END, PAD, PAD], [START, END] + [PAD] * 4]
    assert arrays["token_ids"].tolist() == expected
    assert arrays["padding_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert not arrays["segment_ids"].any()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}


def test_a_pair_has_two_segments_in_bert(bert):
    encoded = Preprocessor(bert, max_length=9).encode(["the fox"], ["a b ."])
    names = "[CLS] the fox [SEP] a b . [SEP]".split()
    assert encoded.ids.tolist() == [ID[name] for name in names]
    assert encoded.second_starts.tolist() == [4]
    padded = encoded.pad(9)
    assert padded["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0]]


def test_a_pair_has_two_separators_and_no_segments_in_roberta(roberta):
    encoded = Preprocessor(roberta, max_length=9).encode(["ab"], ["b"])
    assert encoded.ids.tolist() == [0, BPE["ab"], 2, 2, BPE["b"], 2]
    assert encoded.second_starts.tolist() == [6]
    assert not encoded.pad()["segment_ids"].any()


def test_rows_of_roberta_are_padded_with_its_own_id(roberta):
    names = ("token_ids", "padding_mask")
    arrays = Preprocessor(roberta, max_length=4, input_names=names)(["a"])
    assert list(arrays) == list(names)
    assert arrays["token_ids"].tolist() == [[0, BPE["a"], 2, 1]]


def test_no_text_gives_no_rows(bert):
    encoder = Preprocessor(bert, max_length=5)
    assert encoder([])["token_ids"].shape == (0, 5)
    assert encoder([], [])["segment_ids"].shape == (0, 5)
    encoded = encoder.encode([])
    assert len(encoded) == 0
    assert encoded.pad()["token_ids"].shape == (0, 0)
    assert encoded.truncation.summary() == "There was no text to cut."


@given(rows, rows, st.integers(3, 14))
@settings(max_examples=60, deadline=None)
def test_pairs_are_cut_as_transformers_cuts_them(
    bert, transformers_bert, first, second, max_length
):
    first, second = first[: len(second)], second[: len(first)]
    ours = Preprocessor(bert, max_length=max_length)(first, second)
    theirs = transformers_bert(
        first, second, truncation=True, max_length=max_length, padding="max_length"
    )
    np.testing.assert_array_equal(ours["token_ids"], theirs["input_ids"])
    np.testing.assert_array_equal(ours["segment_ids"], theirs["token_type_ids"])
    np.testing.assert_array_equal(ours["padding_mask"], theirs["attention_mask"])


@pytest.mark.parametrize("max_length", range(4, 16))
def test_every_pair_of_lengths_is_cut_as_transformers_cuts_it(
    roberta, transformers_roberta, max_length
):
    lengths = [(i, j) for i in range(9) for j in range(9)]
    first = ["a" * i for i, _ in lengths]
    second = ["b" * j for _, j in lengths]
    ours = Preprocessor(roberta, max_length=max_length).encode(first, second)
    theirs = transformers_roberta(
        first, second, truncation="longest_first", max_length=max_length
    )
    assert rows_of(ours) == theirs["input_ids"]


@given(rows, st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_single_texts_are_cut_as_transformers_cuts_them(
    bert, transformers_bert, first, max_length
):
    ours = Preprocessor(bert, max_length=max_length).encode(first)
    theirs = transformers_bert(first, truncation=True, max_length=max_length)
    assert rows_of(ours) == theirs["input_ids"]


def test_repeated_texts_are_tokenized_once(bert, monkeypatch):
    seen = []
    tokenize = Tokenizer.tokenize
    monkeypatch.setattr(
        Tokenizer,
        "tokenize",
        lambda self, texts: seen.extend(texts) or tokenize(self, texts),
    )
    encoder = Preprocessor(bert, max_length=9)
    encoded = encoder.encode(["a", "the fox", "a"], ["b", "b", "the fox"])
    assert sorted(seen) == ["a", "b", "the fox"]
    monkeypatch.undo()
    assert rows_of(encoded) == [
        rows_of(encoder.encode([first], [second]))[0]
        for first, second in [("a", "b"), ("the fox", "b"), ("a", "the fox")]
    ]


def test_chunks_do_not_change_the_rows(bert, monkeypatch):
    first = ["the fox", "", "a b a b a b", "quick"] * 20
    second = ["a", "the quick brown fox", "", "b"] * 20
    encoder = Preprocessor(bert, max_length=8, clean=["lowercase"])
    whole = encoder.encode(first, second)
    monkeypatch.setattr(text_module, "_CHARACTERS_AT_ONCE", 7)
    pieces = encoder.encode(first, second)
    for name in ("ids", "offsets", "second_starts", "full_lengths"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_threads_share_a_preprocessor(roberta):
    encoder = Preprocessor(roberta, max_length=12)
    batches = [["a b" * i, "ab"] for i in range(40)]
    expected = [rows_of(encoder.encode(batch)) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        parallel = list(threads.map(encoder.encode, batches))
    assert [rows_of(encoded) for encoded in parallel] == expected


def test_cleaning_comes_before_tokenizing(bert):
    encoder = Preprocessor(bert, max_length=9, clean=["lowercase", "remove_urls"])
    assert rows_of(encoder.encode(["FOX http://a.b"])) == [[START, ID["fox"], END]]
    own = Preprocessor(bert, max_length=9, clean=[lambda text: text[::-1]])
    pair = own.encode(["xof"], ["b"])
    assert rows_of(pair) == [[START, ID["fox"], END, ID["b"], END]]


@pytest.mark.parametrize(
    "make",
    [
        tuple,
        np.array,
        iter,
        pytest.param(lambda rows: np.array(rows, dtype=object), id="objects"),
        pytest.param(lambda rows: pytest.importorskip("pandas").Series(rows), id="pd"),
        pytest.param(lambda rows: pytest.importorskip("pyarrow").array(rows), id="pa"),
    ],
)
def test_texts_may_come_in_any_column(bert, make):
    encoder = Preprocessor(bert, max_length=9)
    assert rows_of(encoder.encode(make(["a", "fox"]))) == rows_of(
        encoder.encode(["a", "fox"])
    )


# === Odd texts ===


def test_lone_surrogates_are_read_as_replacement_characters(bert, roberta):
    odd, replaced = ["fox", "a \ud800 b"], ["fox", "a \ufffd b"]
    for tokenizer in (bert, roberta):
        encoder = Preprocessor(tokenizer, max_length=12)
        assert rows_of(encoder.encode(odd)) == rows_of(encoder.encode(replaced))
        split_emoji = encoder.encode(["\ud83d\udd25"])
        assert rows_of(split_emoji) == rows_of(encoder.encode(["🔥"]))


@pytest.mark.parametrize("text", ["a\0b", "\0", " \t\n", "́", "日本 fox", "🔥fox"])
def test_odd_characters_match_transformers(bert, transformers_bert, text):
    ours = Preprocessor(bert, max_length=40).encode([text])
    assert ours.ids.tolist() == transformers_bert(text)["input_ids"]


@pytest.mark.parametrize("text", ["a " * 500_000, "a" * 1_000_000])
def test_a_million_characters_are_cut(bert, text):
    encoded = Preprocessor(bert, max_length=512).encode(["fox", text, "b"])
    words = 500_000 if " " in text else 1  # one endless word is unknown
    assert encoded.full_lengths.tolist() == [3, words + 2, 3]
    assert encoded.lengths.tolist() == [3, min(words + 2, 512), 3]


# === Bad input ===


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a fox", r"texts must be a list of strings; received 'a fox' \(str\)\."),
        (b"fox", r"received b'fox' \(bytes\)"),
        (None, r"received None \(NoneType\)"),
        ({"text": ["a"]}, r"must be a list of strings; received \{'text'"),
        (5, r"received 5 \(int\)"),
        (["a", None], r"texts\[1\] is missing \(None\)\. Drop the row"),
        (["a", "b", float("nan")], r"texts\[2\] is missing \(nan\)"),
        (["a", 7], r"texts\[1\] must be a string; received 7 \(int\)"),
        ([b"a"], r"texts\[0\] must be a string; received b'a' \(bytes\)"),
        ([["a", "b"]], r"texts\[0\] must be a string; received \['a', 'b'\] \(list\)"),
        ([[0] * 99], r"received \[0, 0.*\.\.\. \(list\)"),
    ],
)
def test_bad_texts_are_named(bert, texts, message):
    with pytest.raises(ValueError, match=message):
        Preprocessor(bert, max_length=9).encode(texts)


def test_missing_values_of_pandas_are_named(bert):
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["a", None], dtype=object)
    series[1] = pandas.NA
    with pytest.raises(ValueError, match=r"texts\[1\] is missing \(<NA>\)"):
        Preprocessor(bert, max_length=9)(series)


def test_a_bad_second_text_is_named(bert):
    encoder = Preprocessor(bert, max_length=9)
    with pytest.raises(ValueError, match=r"text_pairs\[0\] is missing"):
        encoder(["a"], [None])
    with pytest.raises(ValueError, match="texts has 2 rows and text_pairs 1"):
        encoder(["a", "b"], ["a"])


@pytest.mark.parametrize("max_length", [1, 0, -3, 2.5, None, "9"])
def test_an_impossible_max_length_is_refused(bert, max_length):
    with pytest.raises(ValueError, match=r"at least 2, the tokens around a text; rec"):
        Preprocessor(bert, max_length=max_length)


def test_pairs_need_room_for_their_separators(bert, roberta):
    for tokenizer, least in ((bert, 3), (roberta, 4)):
        encoder = Preprocessor(tokenizer, max_length=least - 1)
        with pytest.raises(ValueError, match=f"at least {least}, .* a pair of texts"):
            encoder.encode(["a"], ["b"])
        exact = Preprocessor(tokenizer, max_length=least)
        assert exact.encode(["a"], ["b"]).lengths.tolist() == [least]


@pytest.mark.parametrize("names", [("input_ids",), ("padding_mask",), ()])
def test_unknown_inputs_are_refused(bert, names):
    with pytest.raises(ValueError, match="input_names must be token_ids and others"):
        Preprocessor(bert, max_length=9, input_names=names)


def test_an_unknown_cleaning_is_refused_at_once(bert):
    with pytest.raises(ValueError, match="unknown cleaning 'fixd'"):
        Preprocessor(bert, max_length=9, clean="fixd")


def test_a_step_that_returns_no_string_is_named(bert):
    encoder = Preprocessor(bert, max_length=9, clean=[lambda text: text or None])
    with pytest.raises(ValueError, match="cleaning gave None for row 1"):
        encoder(["a", ""])


# === Truncation ===


def test_truncation_counts_texts_and_tokens(bert):
    texts = ["a"] * 97 + ["a a a a", "a a a a a", "a " * 18]
    truncation = Preprocessor(bert, max_length=5).encode(texts).truncation
    assert truncation == Truncation(
        num_texts=100,
        num_truncated=3,
        num_tokens_dropped=1 + 2 + 15,
        length=5,
        longest=20,
        covering={95: 3, 99: 7, 100: 20},
    )
    assert truncation.summary() == (
        "3 of 100 texts (3.0%) were cut to 5 tokens and lost 18 in all; 3 tokens "
        "cover 95 % of the texts, 7 cover 99 % and 20 all of them."
    )
    assert json.loads(json.dumps(truncation.to_json()))["covering"] == {
        "95": 3,
        "99": 7,
        "100": 20,
    }


def test_nothing_cut_is_said_too(bert):
    truncation = Preprocessor(bert, max_length=9).encode(["a", "a b"]).truncation
    assert truncation.num_truncated == truncation.num_tokens_dropped == 0
    assert truncation.summary() == (
        "No text was cut: of 2 the longest has 4 tokens; 4 cover 95 % and 4 cover 99 %."
    )


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_covering_is_the_smallest_length_that_covers(bert, lengths):
    encoder = Preprocessor(bert, max_length=4)
    truncation = encoder.encode(["a " * length for length in lengths]).truncation
    full = np.array(lengths) + 2
    for share, length in truncation.covering.items():
        assert (full <= length).mean() * 100 >= share
        assert (full <= length - 1).mean() * 100 < share


def test_calling_says_truncation_once(bert, caplog):
    encoder = Preprocessor(bert, max_length=3)
    with caplog.at_level(logging.WARNING, logger="kbert"):
        encoder(["a"])
        assert not caplog.records
        encoder(["a b"])
        encoder(["a b"])
    (record,) = caplog.records
    assert record.getMessage().startswith("1 of 1 texts (100.0%) were cut to 3 tokens")


# === Encoded ===


@given(rows, st.integers(3, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_rows_survive_slicing_joining_and_padding(bert, texts, max_length, data):
    encoder = Preprocessor(bert, max_length=max_length)
    encoded = encoder.encode(texts, texts[::-1])
    cut = data.draw(st.integers(0, len(texts)))
    joined = Encoded.concatenate([encoded[:cut], encoded[cut:]])
    order = np.array(data.draw(st.permutations(range(len(texts)))))
    restored = joined[order][np.argsort(order)]
    for name in ("ids", "offsets", "second_starts", "full_lengths"):
        for other in (joined, restored):
            np.testing.assert_array_equal(getattr(encoded, name), getattr(other, name))
            assert getattr(encoded, name).dtype == getattr(other, name).dtype
    one_by_one = [encoder([a], [b]) for a, b in zip(texts, texts[::-1], strict=True)]
    for name, array in restored.pad(max_length).items():
        expected = np.concatenate([arrays[name] for arrays in one_by_one])
        np.testing.assert_array_equal(array, expected)


@given(rows)
@settings(max_examples=30, deadline=None)
def test_padding_can_be_taken_off_again(bert, texts):
    encoded = Preprocessor(bert, max_length=20).encode(texts)
    padded = encoded.pad()
    assert padded["token_ids"].shape == (len(texts), encoded.lengths.max())
    mask = padded["padding_mask"].astype(bool)
    np.testing.assert_array_equal(padded["token_ids"][mask], encoded.ids)
    np.testing.assert_array_equal(mask.sum(axis=1), encoded.lengths)
    assert (padded["token_ids"][~mask] == PAD).all()


def test_rows_can_be_chosen_in_many_ways(bert):
    encoded = Preprocessor(bert, max_length=9).encode(["a", "b b", "", "fox"])
    all_rows = rows_of(encoded)
    assert rows_of(encoded[-1]) == all_rows[-1:]
    assert rows_of(encoded[::-2]) == all_rows[::-2]
    assert rows_of(encoded[[2, 0, 2]]) == [all_rows[i] for i in (2, 0, 2)]
    chosen = np.array([True, False, False, True])
    assert rows_of(encoded[chosen]) == [all_rows[0], all_rows[3]]
    assert len(encoded[3:1]) == len(encoded[np.array([], int)]) == 0
    assert len(encoded[[]]) == 0
    for outside in (4, -5, [0, 4], np.array([-5])):
        with pytest.raises(IndexError, match=r"rows must lie in \[0, 4\)"):
            encoded[outside]
    with pytest.raises(IndexError):
        encoded[1.5]


def test_a_slice_copies_no_ids(bert):
    encoded = Preprocessor(bert, max_length=9).encode(["a", "b b", "fox"])
    assert np.shares_memory(encoded[1:].ids, encoded.ids)


def test_padding_never_cuts(bert):
    encoded = Preprocessor(bert, max_length=9).encode(["a", "a b"])
    with pytest.raises(ValueError, match="length=3, and row 1 has 4 tokens"):
        encoded.pad(3)


def test_only_rows_of_one_format_are_joined(bert, roberta):
    parts = [Preprocessor(t, max_length=9).encode(["a"]) for t in (bert, roberta)]
    with pytest.raises(ValueError, match="2 parts in 2 formats"):
        Encoded.concatenate(parts)
    with pytest.raises(ValueError, match="received 0 parts"):
        Encoded.concatenate([])


# === Saving ===


def test_settings_survive_json(bert):
    encoder = Preprocessor(
        bert, max_length=7, input_names=("token_ids", "padding_mask"), clean="fixed"
    )
    config = json.loads(json.dumps(encoder.get_config()))
    tokenizer = Tokenizer(**json.loads(json.dumps(asdict(bert))))
    assert tokenizer == bert
    again = Preprocessor.from_config(config, tokenizer)
    assert again.get_config() == encoder.get_config()
    sample = ["The FOX jumped http://t.co/1", ""]
    for name, array in encoder(sample).items():
        np.testing.assert_array_equal(array, again(sample)[name])


def test_named_steps_are_saved_and_code_is_not(bert):
    steps = ["lowercase", "remove_emoji"]
    assert Preprocessor(bert, max_length=7, clean=steps).get_config()["clean"] == steps
    own = Preprocessor(bert, max_length=7, clean=["lowercase", str.strip])
    with pytest.raises(ValueError, match="'strip' is code, which a saved model cannot"):
        own.get_config()


@pytest.mark.parametrize("change", [{"window": 3}, {"max_length": None}])
def test_settings_of_another_version_are_refused(bert, change):
    config = Preprocessor(bert, max_length=7).get_config() | change
    with pytest.raises(ValueError, match="settings must be|max_length must be"):
        Preprocessor.from_config(config, bert)


# === The process ===


def run_python(code):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "TOKENIZERS_PARALLELISM"
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children_tokenize_without_a_warning():
    code = f"""
import os
from kbert.text import Tokenizer
tokenizer = Tokenizer.from_wordpiece_vocabulary({VOCABULARY!r})
expected = tokenizer.tokenize(["the fox"] * 64)[0].tolist()
child = os.fork()
if not child:
    same = tokenizer.tokenize(["the fox"] * 64)[0].tolist() == expected
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
assert "TOKENIZERS_PARALLELISM" not in os.environ
"""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_text_imports_nothing_heavy():
    code = """
import sys
import kbert.text
heavy = {"keras", "torch", "transformers", "tensorflow", "pandas", "tokenizers"}
sys.exit(", ".join(heavy & set(sys.modules)) or None)
"""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")
