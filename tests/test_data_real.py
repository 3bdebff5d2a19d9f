"""kbert.data on the real files: counts, classes and documented split sizes."""

import hashlib

import numpy as np
import pytest

from kbert.data import load_split, load_splits


def class_counts(split):
    counts = np.bincount(split.labels, minlength=split.num_classes)
    return dict(zip(split.label_names, counts.tolist(), strict=True))


# === tweets ===


def test_tweets_have_the_documented_rows_classes_and_quirks(shared_data):
    split = load_split(shared_data("tweets") / "train.csv", label="target")
    assert len(split) == 7613
    assert class_counts(split) == {"0": 4342, "1": 3271}
    assert split.texts[0] == (
        "Our Deeds are the Reason of this #earthquake May ALLAH Forgive us all"
    )
    assert split.labels[0] == 1
    assert split.column("id")[:3] == [1, 4, 5]
    assert split.column("keyword").count(None) == 61
    assert split.column("location").count(None) == 2533
    assert any("\n" in text for text in split.texts)


def test_tweets_split_into_the_documented_sizes(shared_data):
    path = shared_data("tweets") / "train.csv"
    for stratify in (True, False):
        splits = load_splits(
            path, label="target", validation=0.2, seed=42, stratify=stratify
        )
        assert (len(splits.train), len(splits.validation)) == (6090, 1523)
    assert splits.test is None
    assert splits.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert splits.digest.startswith("61111c6dc31eaffa")


def test_tweets_folder_takes_the_test_file_unlabelled(shared_data, caplog):
    caplog.set_level("INFO", "kbert")
    splits = load_splits(shared_data("tweets"), label="target", validation=0.2)
    assert (len(splits.train), len(splits.test)) == (6090, 3263)
    assert splits.test.labels is None and splits.test.label_names == ()
    assert splits.test.texts[0] == "Just happened a terrible car crash"
    assert splits.test.column("id")[:2] == [0, 2]
    assert "test.csv has no labels in a column 'target'" in caplog.text


def test_tweets_findings_agree_with_pandas(shared_data):
    import pandas as pd

    path = shared_data("tweets") / "train.csv"
    frame = pd.read_csv(path)
    findings = load_splits(path, label="target", validation=0.2).findings
    repeated = frame.duplicated(["text", "target"])
    assert findings.duplicates.count == repeated.sum()
    first = [example.row for example in findings.duplicates.examples]
    assert first == np.flatnonzero(repeated)[:20].tolist()
    two_labels = frame.groupby("text")["target"].transform("nunique") > 1
    assert findings.conflicts.count == two_labels.sum()
    assert findings.leaks.count > 0
    assert findings.nulls.count == findings.blanks.count == 0


def test_dropping_leaves_no_tweet_twice(shared_data):
    splits = load_splits(
        shared_data("tweets") / "train.csv",
        label="target",
        validation=0.2,
        drop=("duplicates", "conflicts"),
    )
    texts = splits.train.texts + splits.validation.texts
    assert len(texts) == len(set(texts))
    assert splits.findings.leaks.count == 0


# === spam ===


def test_spam_splits_as_the_tutorial_did(shared_data):
    from sklearn.model_selection import train_test_split

    path = shared_data("spam") / "spamdata_v2.csv"
    splits = load_splits(path, validation=0.15, test=0.15, seed=2018)
    sizes = [len(part) for part in splits.parts.values()]
    assert sizes == [3900, 836, 836]
    assert class_counts(splits.test) == {"0": 724, "1": 112}
    labels = load_split(path, label="label").labels
    train, rest = train_test_split(
        np.arange(5572), random_state=2018, test_size=0.3, stratify=labels
    )
    validation, test = train_test_split(
        rest, random_state=2018, test_size=0.5, stratify=labels[rest]
    )
    np.testing.assert_array_equal(splits.train.rows, train)
    np.testing.assert_array_equal(splits.validation.rows, validation)
    np.testing.assert_array_equal(splits.test.rows, test)


def test_spam_collection_without_header_or_ending_is_read(shared_data):
    path = shared_data("spam") / "SMSSpamCollection"
    split = load_split(path, label="label", delimiter="\t", columns=("label", "text"))
    assert len(split) == 5574
    assert class_counts(split) == {"ham": 4827, "spam": 747}
    assert split.texts[0].startswith("Go until jurong point, crazy..")
    raw = [line.split("\t") for line in path.read_text("utf-8").split("\n")[:-1]]
    assert split.texts == [text for _, text in raw]


# === mrpc ===


def test_mrpc_pairs_come_with_their_own_validation_and_test(shared_data):
    folder = shared_data("mrpc")
    splits = load_splits(folder, text="sentence1", text_pair="sentence2")
    assert class_counts(splits.train) == {"0": 1194, "1": 2474}
    assert class_counts(splits.validation) == {"0": 129, "1": 279}
    assert class_counts(splits.test) == {"0": 578, "1": 1147}
    assert splits.findings.nulls.count == 0
    assert splits.train.texts[0].startswith("Amrozi accused his brother , whom he")
    assert splits.train.text_pairs[0].startswith('Referring to him as only " the')
    assert splits.validation.column("idx")[0] == 9


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_mrpc_texts_equal_those_of_the_csv_module(shared_data, name):
    import csv

    path = shared_data("mrpc") / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    split = load_split(path, text="sentence1", text_pair="sentence2", label="label")
    assert split.texts == [row["sentence1"] for row in rows]
    assert split.text_pairs == [row["sentence2"] for row in rows]
    assert split.labels.tolist() == [int(row["label"]) for row in rows]


# === imdb ===


def test_imdb_parquet_splits_and_counts_its_repeats(shared_data):
    splits = load_splits(shared_data("imdb"))
    assert class_counts(splits.train) == {"0": 12500, "1": 12500}
    assert class_counts(splits.test) == {"0": 12500, "1": 12500}
    distinct = [len(set(part.texts)) for part in (splits.train, splits.test)]
    assert distinct == [24904, 24801]
    assert splits.findings.duplicates.count == 2 * 25000 - sum(distinct)
    leaked = set(splits.test.texts)
    assert splits.findings.leaks.count == sum(t in leaked for t in splits.train.texts)
    assert splits.train[12500:12501].texts[0].startswith("Bromwell High is a cartoon")


def test_imdb_cut_80_10_10_never_overlaps(shared_data):
    splits = load_splits(
        shared_data("imdb") / "train.parquet", validation=0.1, test=0.1
    )
    assert [len(part) for part in splits.parts.values()] == [20000, 2500, 2500]
    rows = np.concatenate([part.rows for part in splits.parts.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(25000))


# === amazon ===


def test_amazon_polarity_is_balanced(shared_data):
    folder = shared_data("amazon")
    splits = load_splits(
        folder / "polarity_train.csv",
        text="content",
        validation=0.1,
        test=folder / "polarity_test.csv",
    )
    assert [len(part) for part in splits.parts.values()] == [3600, 400, 4000]
    assert class_counts(splits.validation) == {"0": 200, "1": 200}
    assert class_counts(splits.test) == {"0": 2000, "1": 2000}
    assert splits.source.count(".csv") == 2


def test_amazon_stars_keep_their_order_and_names(shared_data):
    folder = shared_data("amazon")
    splits = load_splits(
        folder / "reviews_multi_en_validation.csv",
        text="content",
        text_pair="title",
        label="stars",
        test=folder / "reviews_multi_en_test.csv",
        limit=500,
    )
    assert splits.label_names == ("1", "2", "3", "4", "5")
    for part in splits.parts.values():
        assert class_counts(part) == dict.fromkeys("12345", 100)
    assert splits.train.column("stars")[0] == "1"
