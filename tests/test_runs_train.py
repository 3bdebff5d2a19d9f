"""From a table to a run folder, and what can be done with it afterwards."""

import io
import json
import signal
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import tiny

import kbert
from kbert.runs import defaults
from kbert.runs.plan import build_plan
from kbert.tasks import Request
from kbert.tasks.answer import Answer
from kbert.tasks.tag import TaggedText

TEXTS, LABELS = tiny.write_texts(90)
SETTINGS = {"epochs": 2, "learning_rate": 3e-3, "precision": "float32"}
LONG = [int(len(text.split()) > 9) for text in TEXTS]
TABLES = {
    "classify": {"text": TEXTS, "label": np.where(LABELS, "good", "bad")},
    "multilabel": {"text": TEXTS, "good": LABELS, "long": LONG},
    "regress": {"text": TEXTS, "score": LABELS * 1000.0 + np.arange(90) / 7},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of each task, trained on a CSV file."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, table in TABLES.items():
        path = folder / f"{name}.csv"
        pd.DataFrame(table).to_csv(path, index=False)
        out = folder / name
        found[name] = kbert.train(path, preset=tiny.build_preset(), out=out, **SETTINGS)
    return found


@pytest.mark.parametrize("name", TABLES)
def test_an_evaluation_says_how_far_it_is(runs, tmp_path, name, monkeypatch, capfd):
    path = tmp_path / "rows.csv"
    pd.DataFrame(TABLES[name]).to_csv(path, index=False)
    whole = kbert.evaluate(runs[name], path)
    assert capfd.readouterr().err.count("rows predicted") == 0
    monkeypatch.setattr("kbert.runs.evaluation._CHUNK_ROWS", 7)
    monkeypatch.setattr("kbert.status_line._LOG_INTERVAL_SECONDS", 0.0)
    figures, num = kbert.evaluate(runs[name], path), len(TEXTS)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == -(-num // 7) and said[1].startswith(f"14 of {num} rows")
    for figure in runs[name].task.headlines:
        expected = pytest.approx(whole[figure]["value"], rel=1e-4, abs=1e-4)
        assert figures[figure]["value"] == expected


@pytest.mark.parametrize("name", TABLES)
def test_a_run_holds_its_model_figures_and_predictions(runs, name):
    run = runs[name]
    assert run.task.name == name and run.split == "test"
    files = {path.name for path in run.path.iterdir()}
    assert {"model.keras", "config.json", "history.csv", "predictions.csv"} <= files
    assert {"report.html", "report.json", "report.md"} <= files
    written = pd.read_csv(run.path / "predictions.csv")
    assert len(written) == run.metrics["num_examples"] == 14
    assert {"row", "text", "true_label", "label"} <= set(written.columns)
    html = run._repr_html_()
    assert html.startswith("<table>") and "95 % interval" in html
    for headline in run.task.headlines[:2]:
        assert run.metrics.get(headline) or headline == "f1_macro"
    assert name in repr(run)


@pytest.mark.parametrize("name", TABLES)
def test_a_run_that_is_opened_again_predicts_and_measures_the_same(runs, name):
    run, path = runs[name], runs[name].path.parent / f"{name}.csv"
    again = kbert.load_run(run.path)
    assert isinstance(again, kbert.TrainedRun) and kbert.load_run(again) is again
    pd.testing.assert_frame_equal(kbert.predict(again, path), run.predict(path))
    one, other = kbert.evaluate(run.path, path), run.evaluate(path)
    assert one == other and one["num_examples"] == 90
    assert "95 % interval" in str(one)


def test_scores_are_predicted_in_the_unit_of_the_labels(runs):
    run = runs["regress"]
    predicted = run.predict(TEXTS)["label"]
    assert 300 < predicted.mean() < 700
    assert "score_mean" not in run.model.metadata


def test_folding_scales_every_prediction_alike():
    task = kbert.tasks.find_task("regress")
    model = task.build(tiny.build_preset(), (), precision="float32")
    before = task.predict(model, TEXTS[:8])
    part = kbert.load_split((TEXTS, LABELS * 30.0 - 7), label="label", kind="scores")
    task.prepare(model, part)
    standardised = task.feed(model, part, 8, None).labels
    assert abs(standardised.mean()) < 1e-6 and abs(standardised.std() - 1) < 1e-6
    task.finish(model)
    mean, deviation = part.labels.mean(), part.labels.std()
    np.testing.assert_allclose(
        task.predict(model, TEXTS[:8]), before * deviation + mean, rtol=1e-5
    )


def test_each_label_has_a_threshold_which_predictions_follow(runs):
    run = runs["multilabel"]
    thresholds = run.model.metadata["thresholds"]
    assert len(thresholds) == 2 and run.label_names == ("good", "long")
    found = run.predict(TEXTS)
    for place, name in enumerate(run.label_names):
        is_set = found["label"].str.split(";").map(lambda row, n=name: n in row)
        assert (is_set == (found[f"probability_{name}"] >= thresholds[place])).all()
    rows = run.metrics["per_class"]
    assert [row["threshold"] for row in rows] == thresholds


def test_a_table_keeps_its_columns_in_every_format(runs, tmp_path):
    run = runs["classify"]
    table = pd.DataFrame(
        {"text": TEXTS[:5], "code": ["007", "1e5", "NA", "", 'a "b", c'], "label": "x"}
    )
    places = {
        suffix: tmp_path / f"new.{suffix}" for suffix in ("csv", "jsonl", "parquet")
    }
    table.to_csv(places["csv"], index=False)
    table.to_json(places["jsonl"], orient="records", lines=True)
    table.to_parquet(places["parquet"])
    expected = run.predict(TEXTS[:5])
    for suffix, place in places.items():
        before = place.read_bytes()
        out = tmp_path / f"out.{suffix}"
        written = kbert.predict(run, place, out)
        assert written.num_rows == 5 and place.read_bytes() == before
        assert sum(written.label_counts.values()) == 5
        if suffix == "csv":
            found = pd.read_csv(out, dtype=str, keep_default_na=False)
        elif suffix == "jsonl":
            rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
            found = pd.DataFrame(rows)
        else:
            found = pyarrow.parquet.read_table(out).to_pandas()
        assert found["code"].tolist() == table["code"].tolist(), suffix
        assert found["label"].tolist() == ["x"] * 5
        assert found["predicted_label"].tolist() == expected["label"].tolist()
        got = found["probability_good"].astype(float)
        np.testing.assert_allclose(got, expected["probability_good"], rtol=1e-5)


def test_files_are_read_as_in_training_whatever_they_are(runs, tmp_path):
    """Compressed, with semicolons, a JSON array, a spreadsheet: same predictions."""
    frame = pd.DataFrame({"text": TEXTS[:4], "code": ["1", "2", "x;y", '"']})
    expected = runs["classify"].predict(TEXTS[:4])["label"].tolist()
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "b.csv", index=False, sep=";")
    frame.to_json(tmp_path / "c.json", orient="records")
    frame.to_csv(tmp_path / "d.txt", index=False, sep="|")
    frame.to_csv(tmp_path / "e.csv", index=False, encoding="utf-16")
    (tmp_path / "f.csv").write_text(f"sep=;\n{(tmp_path / 'b.csv').read_text()}")
    marks = {"b.csv": ";", "d.txt": "|", "f.csv": ";"}
    endings = {"a.csv.gz": ".csv", "c.json": ".jsonl"}
    for place in sorted(tmp_path.iterdir()):
        out = tmp_path / f"out{endings.get(place.name, place.suffix)}"
        kbert.predict(runs["classify"], place, out)
        if out.suffix == ".jsonl":
            found = pd.read_json(out, lines=True, dtype=False)
        else:
            found = pd.read_csv(out, sep=marks.get(place.name, ","), dtype=str)
        assert found["label"].tolist() == expected, place.name
        assert found["code"].tolist() == frame["code"].tolist(), place.name
        out.unlink()


def test_quotes_of_tab_separated_texts_stay_as_they_are(runs, tmp_path):
    rows = ['a "great" film', '"', 'bad"']
    place, out = tmp_path / "a.tsv", tmp_path / "out.tsv"
    place.write_text("text\n" + "\n".join(rows) + "\n")
    kbert.predict(runs["classify"], place, out)
    found = [line.split("\t") for line in out.read_text().splitlines()]
    assert [row[0] for row in found] == ["text", *rows]
    assert [row[1] for row in found[1:]] == runs["classify"].predict(rows)[
        "label"
    ].tolist()


def test_what_was_predicted_can_be_predicted_again(runs, tmp_path):
    run, places = runs["classify"], [tmp_path / f"{n}.csv" for n in range(4)]
    pd.DataFrame({"text": TEXTS[:3], "label": "x"}).to_csv(places[0], index=False)
    for place, out in zip(places, places[1:], strict=False):
        assert sum(kbert.predict(run, place, out).label_counts.values()) == 3
    with places[-1].open(encoding="utf-8") as file:
        names = file.readline().strip().split(",")  # pandas would rename a second one
    assert len(set(names)) == len(names)
    found = pd.read_csv(places[-1])
    assert found["label"].tolist() == ["x"] * 3
    for name in ("predicted_label_2", "predicted_label_3"):
        assert found[name].tolist() == found["predicted_label"].tolist()
    again = run.predict(run.predict(found))
    assert again.columns.is_unique and "predicted_label_5" in again


def test_predictions_of_a_spreadsheet_are_written_as_csv(runs, tmp_path, monkeypatch):
    place, out = tmp_path / "a.xlsx", tmp_path / "out.csv"
    place.write_bytes(b"PK")
    table = pa.table({"text": TEXTS[:3], "n": [1, None, 3]})
    monkeypatch.setattr("kbert.runs.tables.read_file", lambda *_: (table, "", ()))
    assert kbert.predict(runs["classify"], place, out).num_rows == 3
    assert pd.read_csv(out, dtype=str)["n"].tolist()[::2] == ["1", "3"]
    with pytest.raises(ValueError, match=r"written as \.csv"):
        kbert.predict(runs["classify"], place, tmp_path / "out.xlsx")


def test_a_long_table_is_read_in_chunks(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("kbert.runs.tables.CHUNK_ROWS", 7)
    place = tmp_path / "long.csv"
    pd.DataFrame({"text": TEXTS}).to_csv(place, index=False)
    kbert.predict(runs["classify"], place, tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv")
    expected = runs["classify"].predict(TEXTS)
    assert found["label"].tolist() == expected["label"].tolist()


ONE_WORD = np.array([[0, 1]]), np.array([0])  # its place and its tag


@pytest.mark.parametrize(
    ("name", "columns", "none", "one"),
    [
        (
            "tag",
            {"text": ["a", "b"], "entities": [1, 2]},
            TaggedText("a", *ONE_WORD, np.float32([0.5]), ("O", "B-PER")),
            TaggedText("b", *ONE_WORD, np.float32([0.5]), ("B-PER", "O")),
        ),
        (
            "answer",
            {"question": ["a", "b"], "context": ["c", "d"]},
            Answer("", None, None, 0.5),
            Answer("d", 0, 1, 0.5),
        ),
    ],
)
def test_parquet_columns_begin_with_rows_that_have_nothing(
    tmp_path, monkeypatch, name, columns, none, one
):
    """The first chunk alone does not tell the type of places and entities."""
    monkeypatch.setattr("kbert.runs.tables.CHUNK_ROWS", 1)
    answers = iter([[none], [one]])
    task = kbert.tasks.find_task(name)
    monkeypatch.setattr(type(task), "predict", lambda *_, **__: next(answers))
    place, out = tmp_path / "a.parquet", tmp_path / "out.parquet"
    pd.DataFrame(columns).to_parquet(place)
    run = kbert.TrainedRun(tmp_path, {"task": name}, {}, model=object())
    assert kbert.predict(run, place, out).num_rows == 2
    found = pyarrow.parquet.read_table(out).to_pydict()
    for key, values in task.tabulate(None, None, [none, one]).items():
        assert found[f"predicted_{key}" if key in columns else key] == values


def test_standard_input_is_a_text_a_line(runs, monkeypatch, capsys):
    lines = "\n".join(TEXTS[:3]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    kbert.predict(runs["classify"], "-", "-")
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert found["text"].tolist() == TEXTS[:3]
    assert (
        found["label"].tolist() == runs["classify"].predict(TEXTS[:3])["label"].tolist()
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.csv",
            b"text,label\nfine,1\nbad\n",
            "but row 1 has 1",
        ),
        ("a.csv", b'text\n"never closed\n', "never closed"),
        ("a.csv", b"words\nfine\n", "no column 'text'.*It has words"),
        ("a.csv", b"text\n", "no rows"),
        ("a.csv", b"", "empty"),
        ("a.csv", b"text\nf\xe4in\n", "utf-8"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "no JSON object in line 2"),
        ("a.jsonl", b'{"text": 3}\n', "no text in row 0: 3"),
        ("a.parquet", b"PAR1", "as Parquet"),
        ("a.xls", b"x", "ending '.xls'"),
    ],
)
def test_a_table_that_cannot_be_read_leaves_no_output(
    runs, tmp_path, name, content, words
):
    place, out = tmp_path / name, tmp_path / f"out-{name}"
    place.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        kbert.predict(runs["classify"], place, out)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_outputs_that_cannot_be_are_refused(runs, tmp_path):
    place = tmp_path / "a.csv"
    place.write_text("text\nfine\n")
    run = runs["classify"]
    with pytest.raises(ValueError, match="is the input, which is never changed"):
        kbert.predict(run, place, place)
    with pytest.raises(ValueError, match="name the file 'b.csv' instead of 'b.jsonl'"):
        kbert.predict(run, place, tmp_path / "b.jsonl")
    with pytest.raises(FileNotFoundError, match="no folder"):
        kbert.predict(run, place, tmp_path / "none" / "b.csv")
    with pytest.raises(FileNotFoundError, match="no file"):
        kbert.predict(run, tmp_path / "none.csv", tmp_path / "b.csv")


def test_labels_never_seen_in_training_are_refused(runs, tmp_path):
    place = tmp_path / "a.csv"
    place.write_text("text,label\nfine,good\nawful,ugly\n")
    with pytest.raises(ValueError, match="'ugly' in row 1"):
        kbert.evaluate(runs["classify"], place)


def test_folders_that_are_no_runs_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        kbert.load_run(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no config.json"):
        kbert.load_run(tmp_path)
    (tmp_path / "config.json").write_text('{"recipe": "tweets"}')
    with pytest.raises(ValueError, match="names no task"):
        kbert.load_run(tmp_path)
    (tmp_path / "config.json").write_text('{"task": "classify"}')
    with pytest.raises(ValueError, match="holds no model.keras"):
        kbert.load_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        kbert.load_run(tmp_path)


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        ({"text": TEXTS, "label": ["one"] * 90}, {}, "only sensible|one class|cannot"),
        ({"text": TEXTS[:3], "label": ["a", "b", "a"]}, {}, "."),
        (
            TABLES["regress"],
            {"class_weight": "balanced"},
            "is for classes",
        ),
        (TABLES["classify"], {"task": "regress"}, "must hold numbers; row 0"),
        (TABLES["classify"], {"label": "labels"}, "no column 'labels'"),
    ],
)
def test_data_that_do_not_fit_leave_no_folder(tmp_path, table, options, words):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=words):
        kbert.train(pd.DataFrame(table), preset=tiny.build_preset(), out=out, **options)
    assert not out.exists()


def test_without_held_out_rows_the_report_says_so(tmp_path):
    table = pd.DataFrame(TABLES["classify"])
    run = kbert.train(
        table,
        preset=tiny.build_preset(),
        out=tmp_path / "run",
        validation=0,
        test=0,
        freeze="all",
        class_weight="balanced",
        **SETTINGS,
    )
    assert run.split == "train" and run.metrics["num_examples"] == 90
    assert "No rows were held out" in run.report["notices"][0]
    layers = run.model.backbone.transformer_layers
    assert not any(layer.trainable for layer in layers)


# === Defaults ===


def test_small_data_get_more_passes_and_large_ones_fewer():
    config = tiny.build_preset().config
    lengths = np.arange(1, 1001)
    few, many, most = (
        defaults.choose_settings(n, config, lengths) for n in (200, 5000, 10**6)
    )
    assert few.batch_size == 16 and few.epochs == 12 and few.patience == 6
    assert many.batch_size == 32 and many.epochs == many.patience == 3
    assert most.epochs == 2
    asked = defaults.choose_settings(5000, config, lengths, epochs=50)
    assert asked.epochs == 50 and asked.patience == 25
    frozen = defaults.choose_settings(200, config, lengths, is_frozen=True)
    assert frozen.epochs == 20 and frozen.learning_rate > few.learning_rate
    assert few.max_length == config.max_sequence_length == 24


def test_the_longest_text_covers_99_of_100():
    lengths = np.full(1000, 20)
    lengths[:10] = 400
    assert defaults.choose_max_length(lengths, 512) == 20
    lengths[:20] = 300
    assert defaults.choose_max_length(lengths, 512) == 300
    assert defaults.choose_max_length(lengths, 128) == 128


def test_lengths_are_counted_of_rows_from_the_whole_file():
    for num_rows in (0, 1, 4999, 5000):
        assert defaults.choose_counted(num_rows).tolist() == list(range(num_rows))
    counted = defaults.choose_counted(12_345)
    assert len(counted) == 5000 and counted[0] == 0 and counted[-1] >= 12_342
    assert set(np.diff(counted)) == {2, 3}


def test_a_plan_fits_sorted_files_and_the_epochs_that_are_asked_for(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(defaults, "_COUNTED_ROWS", 20)
    texts = sorted(TEXTS, key=len)
    table = pd.DataFrame({"text": texts, "label": ["a", "b"] * 45})
    request = Request(source=table, validation=0, test=0)
    plan = build_plan(
        request,
        "classify",
        tiny.build_preset(),
        frozen=None,
        class_weight=None,
        precision="float32",
        long_text=None,
        slices=(),
        chosen={"epochs": 50},
    )
    assert plan.settings.epochs == 50 and plan.settings.patience == 25
    first = plan.task.encode(plan.preset, plan.splits.train[:20], 24).full_lengths
    assert plan.settings.max_length > first.max()


def test_held_out_parts_stop_growing_with_the_data():
    assert defaults.choose_share(1000) == 0.15
    assert defaults.choose_share(100_000) == 0.03
    assert defaults.choose_share(10**9) == 0.0001


def test_wider_encoders_get_smaller_rates():
    rates = [defaults.choose_learning_rate(width) for width in (384, 768, 1024)]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 3


def test_a_run_whose_report_fails_keeps_its_model_and_figures(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("disk is full")

    monkeypatch.setattr("kbert.runs.trust.settle", fail)
    monkeypatch.setattr("kbert.report.write_report", fail)
    out = tmp_path / "run"
    table = pd.DataFrame(TABLES["classify"])
    with pytest.raises(OSError, match="disk is full"):
        kbert.train(table, preset=tiny.build_preset(), out=out, **SETTINGS)
    kept = kbert.load_run(out)
    assert kept.label_names == ("bad", "good") and kept.config["epochs"] == 2
    assert len(kept.predict(TEXTS[:3])) == 3
    assert len(pd.read_csv(out / "history.csv")) == 2
    assert len(pd.read_csv(out / "predictions.csv")) == kept.metrics["num_examples"]
    assert kept.metrics["accuracy"]["value"] is not None
    (note,) = kept.report["trust"]["notes"]
    assert note.endswith("given thresholds: OSError: disk is full.")


def test_an_interrupt_amid_the_report_says_how_to_write_it(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    out, table = tmp_path / "run", pd.DataFrame(TABLES["classify"])
    with monkeypatch.context() as patch:
        patch.setattr("kbert.runs.outcome.examine_model", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            kbert.train(table, preset=tiny.build_preset(), out=out, **SETTINGS)
    assert f"not whole; kbert report {out} writes" in str(caught.value)
    assert kbert.write_report(out).is_file()


def test_training_that_is_interrupted_keeps_a_model(tmp_path, monkeypatch):
    def stop(progress, epoch, logs):
        raise KeyboardInterrupt

    monkeypatch.setattr("kbert.callbacks.Progress.on_epoch_end", stop)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="as trained so far"):
        kbert.train(
            pd.DataFrame(TABLES["regress"]),
            preset=tiny.build_preset(),
            out=out,
            **SETTINGS,
        )
    check_scores(out)


@pytest.mark.parametrize("moment", ["before", "amid"])
def test_a_model_is_finished_before_it_is_saved(tmp_path, monkeypatch, moment):
    """Ctrl-C just before and amid the step that scales the head."""
    from kbert.runs import training

    task = kbert.tasks.find_task("regress")
    fit, scale = training.fit, type(task).finish

    def fit_and_stop(*arguments):
        fit(*arguments)
        if moment == "before":
            raise KeyboardInterrupt

    def stop_and_scale(*arguments):
        signal.raise_signal(signal.SIGINT)
        scale(*arguments)

    monkeypatch.setattr(training, "fit", fit_and_stop)
    monkeypatch.setattr(type(task), "finish", stop_and_scale)
    out, table = tmp_path / "run", pd.DataFrame(TABLES["regress"])
    with pytest.raises(KeyboardInterrupt, match="Stopped after training"):
        kbert.train(table, preset=tiny.build_preset(), out=out, **SETTINGS)
    check_scores(out)


def check_scores(out):
    """Check that a run's model predicts in the unit of the labels."""
    kept = kbert.load_run(out)
    assert kept.task.name == "regress" and "score_mean" not in kept.model.metadata
    assert 300 < kept.predict(TEXTS)["label"].mean() < 700
