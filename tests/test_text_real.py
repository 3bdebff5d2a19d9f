"""Ids equal those of transformers' fast tokenizers on every text of real data sets."""

import csv
import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from kbert.text import Preprocessor, Tokenizer

transformers = pytest.importorskip("transformers")

ROWS_AT_ONCE = 2_000  # transformers keeps every id as a Python object
NO_LIMIT = 1_000_000

# === Reading the sets: name -> one list of texts, or two for pairs ===


def read_csv(paths, *names):
    """Return the named columns of all files, one after the other."""
    columns = [[] for _ in names]
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for column, name in zip(columns, names, strict=True):
                    column.append(row[name])
    return columns


def read_spam(folder):
    lines = (folder / "SMSSpamCollection").read_text(encoding="utf-8").split("\n")
    texts = [line.split("\t", 1)[1] for line in lines if line]
    return [texts + read_csv([folder / "spamdata_v2.csv"], "text")[0]]


def read_amazon(folder):
    titles, contents = read_csv(sorted(folder.glob("*.csv")), "title", "content")
    return [titles + contents]


def read_imdb(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    paths = sorted(folder.glob("*.parquet"))
    tables = [parquet.read_table(path, columns=["text"]) for path in paths]
    return [[text for table in tables for text in table["text"].to_pylist()]]


def read_squad(folder):
    data = json.loads((folder / "dev-v1.1.json").read_text(encoding="utf-8"))["data"]
    pairs = [
        (question["question"], paragraph["context"])
        for article in data
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    return [list(column) for column in zip(*pairs, strict=True)]


def read_ner(folder):
    sentences = []
    for path in sorted(folder.glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            words = [line.split(" ")[0] for line in block.splitlines() if line]
            if words and words[0] != "-DOCSTART-":
                sentences.append(" ".join(words))
    return [sentences]


READERS = {
    "tweets": lambda folder: read_csv(
        [folder / "train.csv", folder / "test.csv"], "text"
    ),
    "spam": read_spam,
    "mrpc": lambda folder: read_csv(
        sorted(folder.glob("*.csv")), "sentence1", "sentence2"
    ),
    "stsb": lambda folder: read_csv(
        sorted(folder.glob("*.csv")), "sentence1", "sentence2"
    ),
    "amazon": read_amazon,
    "imdb": read_imdb,
    "squad": read_squad,
    "sst2": lambda folder: read_csv(sorted(folder.glob("*.csv")), "sentence"),
    "ner": read_ner,
}
NUM_ROWS = {
    "tweets": 7_613 + 3_263,
    "spam": 5_574 + 5_572,
    "mrpc": 3_668 + 408 + 1_725,
    "stsb": 5_749 + 1_500 + 1_379,
    "amazon": 2 * (4_000 + 4_000 + 5_000 + 5_000),
    "imdb": 50_000,
    "squad": 10_570,
    "sst2": 67_349 + 872 + 1_821,
    "ner": 14_041 + 3_250 + 3_453,
}
QUICK = ["tweets", "spam", "mrpc", "stsb"]
SETS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in READERS
]


@pytest.fixture(scope="module")
def columns_of(shared_data):
    """Read a set by name; skips where it is absent."""

    def read(name):
        columns = READERS[name](shared_data(name))
        assert [len(column) for column in columns] == [NUM_ROWS[name]] * len(columns)
        return columns

    return read


# === Both tokenizers, from the same files ===


@pytest.fixture(scope="module")
def bert(shared_data):
    """Our and transformers' tokenizer of bert-base-uncased."""
    path = shared_data("vocab") / "bert-base-uncased-vocab.txt"
    tokens = path.read_text(encoding="utf-8").splitlines()
    ids = {token: index for index, token in enumerate(tokens)}
    theirs = transformers.BertTokenizerFast(vocab=ids)
    return Tokenizer.from_wordpiece_vocabulary(tokens), theirs


@pytest.fixture(scope="module")
def roberta(columns_of, tmp_path_factory):
    """Our and transformers' tokenizer of a byte-level BPE trained on the tweets."""
    trained = Backend(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=4_000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(columns_of("tweets")[0], trainer)
    files = trained.model.save(str(tmp_path_factory.mktemp("roberta")))
    vocab_file, merges_file = (Path(file).read_text(encoding="utf-8") for file in files)
    vocabulary, lines = json.loads(vocab_file), merges_file.split("\n")
    merges = [tuple(line.split(" ")) for line in lines[1:] if line]
    mask = transformers.AddedToken("<mask>", lstrip=True, special=True)
    theirs = transformers.RobertaTokenizerFast(
        vocab=vocabulary, merges=merges, mask_token=mask
    )
    return Tokenizer.from_bpe(vocabulary, lines), theirs


def assert_same_ids(tokenizers, columns, max_length=NO_LIMIT):
    """Compare every id (and segment) of every row."""
    ours, theirs = tokenizers
    preprocessor = Preprocessor(ours, max_length=max_length)
    for first in range(0, len(columns[0]), ROWS_AT_ONCE):
        texts = [column[first : first + ROWS_AT_ONCE] for column in columns]
        encoded = preprocessor.encode(*texts)
        expected = theirs(*texts, truncation=True, max_length=max_length)
        rows = expected["input_ids"]
        np.testing.assert_array_equal(encoded.lengths, list(map(len, rows)))
        np.testing.assert_array_equal(encoded.ids, flat(rows))
        if "token_type_ids" in expected:
            segments = encoded.pad()["segment_ids"][encoded.pad()["padding_mask"] == 1]
            np.testing.assert_array_equal(segments, flat(expected["token_type_ids"]))


def flat(rows):
    return np.fromiter(chain.from_iterable(rows), np.int32)


# === The tests ===


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_wordpiece_ids_equal_transformers_on_every_text(bert, columns_of, name):
    assert_same_ids(bert, columns_of(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_byte_level_ids_equal_transformers_on_every_text(roberta, columns_of, name):
    assert_same_ids(roberta, columns_of(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "max_length"),
    [
        ("mrpc", 45),
        pytest.param("mrpc", 64, marks=pytest.mark.slow),
        pytest.param("tweets", 24, marks=pytest.mark.slow),
        pytest.param("stsb", 17, marks=pytest.mark.slow),
        pytest.param("squad", 384, marks=pytest.mark.slow),
        pytest.param("squad", 31, marks=pytest.mark.slow),
    ],
)
def test_real_texts_are_cut_as_transformers_cuts_them(
    request, columns_of, name, max_length
):
    for family in ("bert", "roberta"):
        tokenizers = request.getfixturevalue(family)
        assert_same_ids(tokenizers, columns_of(name), max_length)


def test_reading_back_transformers_json_gives_the_same_ids(bert, roberta, columns_of):
    texts = columns_of("spam")[0]
    for ours, theirs in (bert, roberta):
        read = Tokenizer.from_json(theirs.backend_tokenizer.to_str())
        for got, expected in zip(
            read.tokenize(texts), ours.tokenize(texts), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
