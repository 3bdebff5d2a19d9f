"""The amazon recipe: stars and polarity, what it states, what it refuses."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
import tiny

from kbert import cli
from kbert.recipes import amazon, amazon_data
from kbert.recipes.flags import Flags

EXPERIMENT = amazon.EXPERIMENT


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    """No cached data set of this machine, no network."""
    monkeypatch.setattr(amazon_data, "find_hub_dataset", lambda name: None)


def load(data=None, **flags):
    return amazon_data.load_amazon(Flags(data=data, **flags))


def read(folder: Path, text: str, is_test: bool = False) -> list[dict]:
    """Read a file of these lines."""
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return amazon_data.read_reviews(path, is_test).to_pylist()


def test_the_settings_and_claims_are_the_documents():
    (variant,) = EXPERIMENT.variants.values()
    settings = variant.settings
    assert EXPERIMENT.preset == "distil_bert_base_en_uncased"
    assert settings.batch_size * settings.accumulate == 16
    assert (settings.learning_rate, settings.schedule) == (1e-5, "cosine")
    assert (settings.epochs, settings.dropout, settings.patience) == (4, 0.3, 2)
    claims = {claim.key: claim.value for claim in variant.claims}
    wanted = {"accuracy": 0.923, "f1_weighted": 0.93, "precision": 0.92}
    assert claims == wanted | {"recall": 0.93, "log_loss": 0.18}


def test_a_run_leaves_its_record(tmp_path, capsys):
    argv = ["--limit", "60", "--epochs", "1", "--max-length", "24"]
    with pytest.MonkeyPatch.context() as patch:
        preset = tiny.build_preset()
        patch.setattr("kbert.presets.resolve_preset", lambda *_: (preset, None))
        assert amazon.main([*argv, "--out", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text("utf-8"))
    assert record["recipe"] == "amazon" and record["split"] == "test"
    assert record["data"]["rows"] == {"train": 54, "validation": 6, "test": 60}
    assert record["is_fallback"] and not record["is_comparable"]
    for claim in EXPERIMENT.variants["documented"].claims:
        assert isinstance(record["figures"][claim.key], float)
    assert "bundled sample" in capsys.readouterr().out
    precise = "Matrix products run in float32, not fewer bits."
    assert (precise in record["deviations"]) == (
        record["device"]["precision"] == "float32"
    )


# === The files ===


def test_stars_and_polarity_are_the_same_reviews(shared_data):
    """The polarity files were made from the others by the same rule."""
    folder = shared_data("amazon")
    for stars, polarity in (("validation", "train"), ("test", "test")):
        rated = amazon_data.read_reviews(folder / f"reviews_multi_en_{stars}.csv")
        labelled = amazon_data.read_reviews(folder / f"polarity_{polarity}.csv")
        assert rated.num_rows == 4_000
        count = Counter(map(tuple, (row.values() for row in rated.to_pylist())))
        assert count == Counter(tuple(row.values()) for row in labelled.to_pylist())


@pytest.mark.parametrize("name", ["", "reviews_multi_en_validation.csv"])
def test_a_test_file_belongs_to_the_one_to_train_on(shared_data, name):
    found = load(shared_data("amazon") / name)
    sizes = {part: len(rows) for part, rows in found.splits.parts.items()}
    assert sizes == {"train": 3_600, "validation": 400, "test": 4_000}
    assert Counter(found.splits.train.labels) == {0: 1_800, 1: 1_800}
    expected = name or "polarity_train.csv"
    assert found.words.endswith(expected) and found.splits.source == found.words
    assert found.splits.train.texts[0].count("\n") >= 1
    assert not found.is_documented and found.label_names == ("negative", "positive")


def test_the_test_rows_do_not_validate_where_no_document_says_so(shared_data):
    splits = load(shared_data("amazon"), as_documented=True).splits
    assert len(splits.validation) == 400


def test_title_and_content_are_one_text(tmp_path):
    rows = read(tmp_path, "label,title,content\n1,Fine,It works.\n0,,It broke.\n")
    assert rows == [
        {"text": "Fine\nIt works.", "label": 1},
        {"text": "It broke.", "label": 0},
    ]
    assert read(tmp_path, "title,content\nFine,\n", True) == [{"text": "Fine"}]


def test_stars_become_sentiment_and_threes_are_left_out(tmp_path):
    lines = [f"{stars},t{stars},c" for stars in (5, 3, 1, 4, 2, 3)]
    rows = read(tmp_path, "\n".join(["stars,title,content", *lines]))
    assert [(row["text"][:2], row["label"]) for row in rows] == [
        ("t5", 1),
        ("t1", 0),
        ("t4", 1),
        ("t2", 0),
    ]


@pytest.mark.parametrize("header", ["", "label,title,content\n"])
def test_the_original_files_have_1_and_2_and_no_header(tmp_path, header):
    rows = read(tmp_path, header + '"2","Good","As told."\n"1","Bad","It broke."\n')
    assert rows == [
        {"text": "Good\nAs told.", "label": 1},
        {"text": "Bad\nIt broke.", "label": 0},
    ]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("stars,title,content\n5,a,b\n7,a,b\n", "hold 1 to 5; row 1 has 7. Correct"),
        ("stars,title,content\n0,a,b\n", "column 'stars' of mine.csv .* row 0 has 0"),
        ("stars,title,content\n5,a,b\n,a,b\n", "row 1 has None"),
        ("stars,title,content\n4.5,a,b\n", "row 0 has 4.5"),
        ("stars,title,content\n5,a,b\n4.5,a,b\n", "row 1 has 4.5"),
        ("stars,title,content\n3,a,b\n3,a,b\n", "every row of mine.csv has 3 stars"),
        ("stars,title,content\nfive,a,b\n", "row 0 has 'five'"),
        ("stars,title,content\n1e300,a,b\n", "row 0 has 1e[+]?300"),
        ("label,title,content\n3,a,b\n", "hold 0 and 1, or 1 and 2; row 0 has 3"),
        ("label,title,content\n0,a,b\n1,a,c\n2,a,d\n", "mine.csv .* has all three"),
        ("label,title,text\n0,a,b\n", "has no column 'content'.* It has label"),
        ("star,title,content\n1,a,b\n", "nor 'stars' .*; did you mean 'star'"),
        ("label,title,content\n", "mine.csv holds no rows"),
        ("", "mine.csv"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_wrong_stars_end_a_run_before_it_begins(tmp_path, capsys):
    (tmp_path / "mine.csv").write_text("stars,title,content\n9,a,b\n")
    argv = ["--data", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "run")]
    assert amazon.main(argv) == cli.EXIT_USAGE
    error = capsys.readouterr().err
    assert "row 0 has 9" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_says_what_files_may_be_called(tmp_path):
    with pytest.raises(FileNotFoundError, match="no train or polarity_train or"):
        load(tmp_path)


def test_the_hubs_reviews_are_taken_where_they_are(monkeypatch):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["negative", "positive"])
    text = datasets.Value("string")
    rows = {"label": [0, 1] * 20, "title": ["t"] * 40}
    rows["content"] = [f"content {number}" for number in range(40)]
    part = datasets.Dataset.from_dict(
        rows, features=datasets.Features(label=names, title=text, content=text)
    )
    hub = datasets.DatasetDict(train=part, test=part)
    monkeypatch.setattr(amazon_data, "find_hub_dataset", lambda name: hub)
    found = load()
    assert found.notice is None and found.words == "the hub's fancyzhx/amazon_polarity"
    assert found.splits.test.texts[:2] == ["t\ncontent 0", "t\ncontent 1"]
    assert found.splits.test.labels[:2].tolist() == [0, 1]


UNRATED = {
    "-1": {"label": [-1, -1, -1]},
    "null": {"label": [None, None, None]},
    "no column": {"review_id": ["x", "y", "z"]},
    "stars of null": {"stars": [None, None, None]},
}


@pytest.mark.parametrize("kind", UNRATED)
def test_a_test_file_without_ratings_is_predicted(kind, tmp_path):
    texts = {"title": ["a", "b", "c"], "content": ["good", "bad", "fine"]}
    pa_csv.write_csv(pa.table(UNRATED[kind] | texts), tmp_path / "test.csv")
    rows = 40
    rated = {"label": [i % 2 for i in range(rows)], "title": ["t"] * rows}
    rated["content"] = [f"goods {i}" for i in range(rows)]
    pa_csv.write_csv(pa.table(rated), tmp_path / "train.csv")
    found = load(tmp_path)
    assert found.extra["unlabelled"].texts == ["a\ngood", "b\nbad", "c\nfine"]
    assert "cannot be scored" in found.notice
    (tmp_path / "train.csv").write_bytes((tmp_path / "test.csv").read_bytes())
    with pytest.raises(ValueError, match="column"):
        load(tmp_path)


def test_reviews_in_memory_are_read_too():
    table = pa.table({"stars": [1, 5], "title": ["a", None], "content": [None, "b"]})
    rows = amazon_data.read_reviews(table).to_pylist()
    assert rows == [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
