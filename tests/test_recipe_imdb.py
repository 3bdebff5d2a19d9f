"""The imdb recipe: its stages, what it reads, what it measures, what it refuses."""

import contextlib
import csv
import io
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

import kbert
from kbert import cli
from kbert.recipes import command, imdb, imdb_data, memory, reviews_data
from kbert.recipes.flags import Flags

EXPERIMENT = imdb.EXPERIMENT


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    """No cached data set of this machine, no network."""
    monkeypatch.setattr(imdb_data, "find_hub_dataset", lambda name: None)


def run(folder: Path, *argv: str) -> tuple[int, str]:
    """Run with an encoder of two narrow layers; return exit code and output."""
    argv = ("--max-length", "24", "--epochs", "1", "--out", str(folder), *argv)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        preset = tiny.build_preset()
        patch.setattr("kbert.presets.resolve_preset", lambda *_: (preset, None))
        patch.setattr(imdb_data, "find_hub_dataset", lambda name: None)
        code = imdb.main(argv)
    return code, printed.getvalue()


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The records of all three stages, and the heads that were built."""
    folder = tmp_path_factory.mktemp("runs") / "stages"
    built = []
    build = kbert.build_classifier
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kbert, "build_classifier", lambda *a, **k: built.append(k) or build(*a, **k)
        )
        code, _ = run(folder, "--stage", "all", "--limit", "80")
    assert code == 0
    names = EXPERIMENT.variants
    paths = {name: folder / f"{name}-seed42" / "record.json" for name in names}
    return {k: json.loads(p.read_text("utf-8")) for k, p in paths.items()}, built


def load(data=None, **flags):
    return imdb_data.load_imdb(Flags(data=data, **flags))


def write_reviews(path: Path, num_rows: int, labelled: bool = True) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"] if labelled else ["text"])
        for number in range(num_rows):
            text = f"film {number} is {'good' if number % 2 else 'bad'}"
            rows.writerow([text, number % 2] if labelled else [text])


# === What the document states ===


def test_the_stages_are_the_documents():
    settings = {name: one.settings for name, one in EXPERIMENT.variants.items()}
    assert list(settings) == ["initial", "debugged", "refined"]
    initial, debugged, refined = settings.values()
    assert (initial.learning_rate, initial.batch_size, initial.epochs) == (2e-5, 8, 3)
    assert (initial.weight_decay, initial.max_length) == (0.01, 512)
    assert (initial.schedule, initial.dropout, initial.patience) == (
        "linear",
        0.1,
        None,
    )
    assert (debugged.learning_rate, debugged.batch_size) == (1e-5, 8)
    assert (debugged.dropout, debugged.patience, debugged.accumulate) == (0.3, 2, 2)
    assert debugged.schedule is not None
    assert refined.epochs == 1 and refined.batch_size * refined.accumulate == 16
    assert refined.views > 1 == debugged.views
    assert EXPERIMENT.variants["refined"].starts_from == "debugged"


def test_the_claims_are_the_documents():
    claims = {
        name: [
            (claim.key, claim.value if claim.to is None else (claim.value, claim.to))
            for claim in one.claims
        ]
        for name, one in EXPERIMENT.variants.items()
    }
    assert claims["initial"] == [
        ("validation_accuracy", 0.85),
        ("validation_f1", 0.87),
        ("validation_accuracy", 0.90),  # the document's other report of the stage
        ("validation_f1", (0.89, 0.91)),
    ]
    assert claims["debugged"] == [
        ("validation_accuracy", (0.89, 0.91)),
        ("validation_f1", 0.90),
        ("accuracy", 0.89),
        ("f1_weighted", 0.89),
        ("log_loss", 0.26),
    ]
    wanted = {"accuracy": 0.905, "f1_weighted": 0.91, "precision": 0.90}
    assert dict(claims["refined"]) == wanted | {"recall": 0.91, "log_loss": 0.22}
    signs = {c.key: c.higher_is_better for c in EXPERIMENT.variants["refined"].claims}
    assert signs["log_loss"] is False and signs["accuracy"] is True


def test_the_real_reviews_are_all_used(shared_data):
    found = load(shared_data("imdb"))
    sizes = {name: len(part) for name, part in found.splits.parts.items()}
    assert sizes == {"train": 22_500, "validation": 2_500, "test": 25_000}
    assert found.is_documented and found.label_names == ("negative", "positive")
    assert Counter(found.splits.validation.labels) == {0: 1_250, 1: 1_250}


def test_as_documented_the_test_rows_validate(shared_data):
    splits = load(shared_data("imdb"), as_documented=True).splits
    assert len(splits.train) == 25_000
    assert splits.validation is splits.test and len(splits.test) == 25_000


def test_a_limit_takes_random_rows_of_both_files(shared_data):
    """The files have all negative reviews first."""
    found = load(shared_data("imdb"), limit=400)
    assert not found.is_documented
    for name, size in {"train": 360, "validation": 40, "test": 400}.items():
        part = found.splits.parts[name]
        assert Counter(part.labels) == {0: size // 2, 1: size // 2}
    assert load(shared_data("imdb"), limit=400, seed=1).splits.test.texts != (
        found.splits.test.texts
    )


# === What a run does ===


@pytest.mark.slow
def test_the_refined_stage_goes_on_with_the_debugged_model(stages):
    records, built = stages
    assert [one["dropout"] for one in built] == [0.1, 0.3]
    assert list(records) == ["initial", "debugged", "refined"]


def test_both_validation_and_test_are_measured(stages):
    records, _ = stages
    for record in records.values():
        figures, rows = record["figures"], record["data"]["rows"]
        assert rows == {"train": 72, "validation": 8, "test": 80}
        assert record["split"] == "test" and not record["is_comparable"]
        assert {"accuracy", "f1_weighted", "log_loss", "precision"} <= figures.keys()
        assert 0 <= figures["validation_f1"] <= 1
    for name in ("initial", "debugged"):  # refined predicts several views
        kept = records[name]["history"][records[name]["kept_epoch"] - 1]
        found = records[name]["figures"]["validation_accuracy"]
        assert found == pytest.approx(kept["val_accuracy"], abs=1e-6)


def test_rows_that_validate_and_are_measured_are_predicted_once(monkeypatch):
    found, measured = [], []
    monkeypatch.setattr(imdb, "predict", lambda *_: found.append("again") or "again")
    monkeypatch.setattr(
        reviews_data, "measure_validation", lambda _, one: measured.append(one)
    )
    for as_documented in (True, False):
        trial = SimpleNamespace(
            flags=SimpleNamespace(as_documented=as_documented),
            material=SimpleNamespace(extra={}),
            probabilities="once",
            validation=None,
        )
        imdb.finish(trial, None)
    assert measured == ["once", "again"] and found == ["again"]


def test_every_claim_has_a_measured_figure(stages):
    records, _ = stages
    for name, record in records.items():
        for claim in EXPERIMENT.variants[name].claims:
            assert isinstance(record["figures"][claim.key], float), claim.key


def test_options_are_settings_that_a_report_names(tmp_path, monkeypatch):
    needs = [
        memory.Need(batch_size=8, peak_bytes=3 * 2**30),
        memory.Need(batch_size=16, peak_bytes=None),
    ]
    monkeypatch.setattr(memory, "measure_memory", lambda *_, **__: needs)
    argv = ("--limit", "40", "--augment", "drop", "--views", "3", "--memory")
    code, printed = run(tmp_path / "run", *argv)
    words = "batch 8: 3.0 GiB; batch 16: not enough memory"
    assert code == 0 and f"\nMemory    {words}\n" in printed
    table = (tmp_path / "run" / "memory.csv").read_text("utf-8")
    assert table == "batch_size,peak_bytes,num_parts\n8,3221225472,1\n16,,1\n"
    record = json.loads((tmp_path / "run" / "record.json").read_text("utf-8"))
    assert record["figures"]["peak memory at batch 8, MiB"] == 3072
    assert "peak memory at batch 16, MiB" not in record["figures"]
    report = (tmp_path / "run" / "report.md").read_text("utf-8")
    assert f"Training on texts of 24 tokens each needs, at {words}." in report
    assert record["data"]["rows"] == {"train": 72, "validation": 4, "test": 40}
    assert "views is 3 (documented: 1)" in record["changed"]
    assert "augment is drop (documented: none)" in record["changed"]
    assert "--augment drop" in record["command"] and "--views 3" in record["command"]


def test_predictions_are_the_mean_over_views():
    import numpy as np

    from kbert import augmentation
    from kbert.recipes.experiment import Settings

    class Trial:
        settings = Settings(epochs=1, batch_size=2, learning_rate=0.1, views=3)
        seed = 7

    model = tiny.build_model(compile=False)
    texts, labels = tiny.write_texts(6)
    rows = kbert.load_split((texts, labels))
    views = augmentation.make_views(texts, 3, seed=7)
    each = [model.predict(view) for view in views]
    np.testing.assert_allclose(
        imdb.predict(Trial, model, rows), np.mean(each, axis=0), atol=1e-6
    )
    assert np.abs(each[0] - each[1]).max() > 1e-4


def test_copies_stand_behind_the_texts_with_their_labels():
    train = load().splits.train
    more = reviews_data.add_copies(train, "swap", seed=3)
    size = len(train)
    assert len(more) == 2 * size and more.texts[:size] == train.texts
    assert more.labels.tolist() == train.labels.tolist() * 2
    assert more.label_names == train.label_names
    pairs = [*zip(train.texts, more.texts[size:], strict=True)]
    assert sum(text != copy for text, copy in pairs) > 0.9 * size
    assert all(sorted(text.split()) == sorted(copy.split()) for text, copy in pairs)
    assert reviews_data.add_copies(train, "none", seed=3) is train


# === The sample ===


def test_the_sample_stands_in_where_the_hub_is_out_of_reach():
    found = load()
    assert "bundled sample" in found.notice and not found.is_documented
    assert {name: len(part) for name, part in found.splits.parts.items()} == {
        "train": 216,
        "validation": 24,
        "test": 80,
    }


def test_the_hubs_reviews_are_taken_where_they_are(monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"])
    )
    rows = {"text": [f"text {i}" for i in range(40)], "label": [0, 1] * 20}
    part = datasets.Dataset.from_dict(rows, features=features)
    hub = datasets.DatasetDict(train=part, test=part, unsupervised=part)
    monkeypatch.setattr(imdb_data, "find_hub_dataset", lambda name: hub)
    found = load()
    assert found.notice is None and found.words == "the hub's stanfordnlp/imdb"
    assert found.splits.label_names == ("neg", "pos")
    assert found.label_names == ("negative", "positive")


def test_the_sample_has_the_real_files_quirks():
    found = load().splits
    texts = [text for part in found.parts.values() for text in part.texts]
    joined = "\n".join(texts)
    for quirk in ("<br /><br />", '"', "’", "é", "9/10", "€"):
        assert quirk in joined, quirk
    assert len(set(texts)) == len(texts) == 320
    lengths = [len(text.split()) for text in texts]
    assert 10 <= min(lengths) < 20 and 100 < max(lengths) <= 120


# === What is refused ===


@pytest.mark.parametrize(
    "argv, sentence",
    [
        (["--stage", "refind"], "Did you mean refined?"),
        (["--views", "0"], "--views must be at least 1; received 0."),
        (["--augment", "drops"], "Did you mean drop?"),
        (["--seeds", "0"], "--seeds must be at least 1; received 0."),
    ],
)
def test_wrong_flags_are_one_sentence(capsys, argv, sentence):
    assert imdb.main(argv) == cli.EXIT_USAGE
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_wrong_files_are_one_sentence(tmp_path):
    (tmp_path / "train.csv").write_text("review,label\ngood,1\nbad,0\n")
    with pytest.raises(ValueError, match="train.csv has no column 'text'.* It has rev"):
        load(tmp_path)
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(ValueError, match="train.csv holds no rows"):
        load(tmp_path)
    (tmp_path / "train.csv").write_text("")
    with pytest.raises(ValueError, match="train.csv"):
        load(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="has no train file .* it holds nothing"
    ):
        (tmp_path / "empty").mkdir()
        load(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no file or folder .*; check the path"):
        load(tmp_path / "nowhere")


def test_other_classes_are_refused(tmp_path):
    rows = "".join(f"text {number},{number % 3}\n" for number in range(60))
    (tmp_path / "train.csv").write_text("text,label\n" + rows)
    with pytest.raises(
        ValueError, match="must hold 0 and 1; received 0, 1, 2. Write 1"
    ):
        load(tmp_path)


def test_a_tenth_is_the_test_where_there_is_no_file(tmp_path):
    write_reviews(tmp_path / "mine.csv", 100)
    found = load(tmp_path / "mine.csv")
    sizes = {name: len(part) for name, part in found.splits.parts.items()}
    assert sizes == {"train": 80, "validation": 10, "test": 10}
    assert found.notice is None


def test_a_test_file_without_labels_is_predicted_and_not_scored(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_reviews(data / "train.csv", 60)
    write_reviews(data / "test.csv", 7, labelled=False)
    code, printed = run(tmp_path / "run", "--data", str(data))
    assert code == 0 and "cannot be scored" in printed
    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(7))
    assert {row["label"] for row in rows} <= {"negative", "positive"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)


def test_labels_of_minus_one_are_none(tmp_path):
    """So the hub writes them; test rows that have both kinds are refused."""
    write_reviews(tmp_path / "train.csv", 60)
    rows = [f"new film {number},-1\n" for number in range(7)]
    test = tmp_path / "test.csv"
    test.write_text("text,label\n" + "".join(rows), "utf-8")
    found = load(tmp_path)
    assert len(found.extra["unlabelled"]) == 7 and "cannot be scored" in found.notice
    assert set(found.splits.label_names) == {"0", "1"}
    test.write_text("text,label\n" + "a new film,\n" * 5, "utf-8")
    assert len(load(tmp_path).extra["unlabelled"]) == 5
    test.write_text("text,label\na good one,1\n" + "".join(rows), "utf-8")
    with pytest.raises(ValueError, match="label '-1' in row 1, 7 rows in all"):
        load(tmp_path)


def test_the_command_line_chooses_the_first_stage():
    config = cli.parse(command.build_config(EXPERIMENT), [])
    assert command.choose(EXPERIMENT, config) == ["initial"]
    assert config.options.views is config.options.augment is None
