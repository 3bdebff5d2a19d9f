"""What a run says about its data and how far to trust it, and its report anew."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny

import kbert
from kbert.commands.main import main

TEXTS, LABELS = tiny.write_texts(120)
SETTINGS = {"epochs": 2, "learning_rate": 3e-3, "precision": "float32"}
SOURCE = [("mail", "web")[row % 2] for row in range(120)]
TABLES = {
    "classify": {"text": TEXTS, "label": np.where(LABELS, "good", "bad")},
    "multilabel": {
        "text": TEXTS,
        "label": [("good|" if good else "") + "film; series" for good in LABELS],
    },
}
READING = {"classify": {}, "multilabel": {"separator": "|"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of each task that has trust, with a slice by a column."""
    folder = tmp_path_factory.mktemp("trust")
    found = {}
    for name, table in TABLES.items():
        path = folder / f"{name}.csv"
        pd.DataFrame({**table, "source": SOURCE}).to_csv(path, index=False)
        found[name] = kbert.train(
            path,
            task=name,
            text="text",
            label="label",
            preset=tiny.build_preset(),
            out=folder / name,
            slices=["source"],
            **READING[name],
            **SETTINGS,
        )
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_run_tells_how_far_to_trust_its_model(runs, name):
    run = runs[name]
    trust = run.report["trust"]
    assert trust["fitted_on"] == "validation" and trust["split"] == "test"
    assert trust["calibration"]["temperature"] > 0
    assert [one["name"] for one in trust["slices"]] == ["length", "source"]
    assert trust["baseline"]["num_examples"] == run.metrics["num_examples"]
    assert {"duplicates", "unknown_tokens"} & {c["kind"] for c in run.report["checks"]}
    page = (run.path / "report.html").read_text("utf-8")
    places = [
        page.index(words)
        for words in (
            "What is wrong with the data",
            "Beside a baseline",
            "Which probability is enough",
            "Where it is weak",
        )
    ]
    assert places == sorted(places)
    assert run.config["slices"] == ["source"]


@pytest.mark.parametrize("name", TABLES)
def test_the_saved_model_is_the_one_that_was_measured(runs, name):
    """Calibration is in its weights, and its thresholds are those of the report."""
    run = runs[name]
    again = kbert.load_run(run.path)
    chosen = [one["threshold"] for one in run.report["trust"]["thresholds"]]
    assert again.model.metadata["thresholds"] == chosen
    written = pd.read_csv(run.path / "predictions.csv")
    found = again.predict(written["text"].tolist())
    np.testing.assert_allclose(
        found["probability_good"], written["probability_good"], atol=1e-5
    )
    assert found["label"].fillna("").tolist() == written["label"].fillna("").tolist()


@pytest.mark.parametrize("name", TABLES)
def test_a_report_is_written_anew_from_its_folder(runs, name, capsys):
    run = runs[name]
    for file, flags in (("report.html", ["--json"]), ("report.md", [])):
        before = (run.path / file).read_text("utf-8")
        (run.path / file).unlink()
        assert main(["report", str(run.path), *flags]) == 0
        after = (run.path / file).read_text("utf-8")
        assert abs(len(after) - len(before)) < 0.01 * len(before)
        assert after.count("<svg") == before.count("<svg")
    shown, *lines = capsys.readouterr().out.splitlines()
    assert json.loads(shown)["page"] == str(run.write_report())
    assert lines[-1] == f"Wrote   {run.path / 'report.html'}"


def test_where_it_cannot_be_the_report_stays(runs, tmp_path, capsys):
    run = runs["classify"]
    folder = tmp_path / "run"
    folder.mkdir()
    for file in ("config.json", "report.json", "report.html"):
        (folder / file).write_bytes((run.path / file).read_bytes())
    (folder / "model.keras").touch()
    before = (folder / "report.html").read_bytes()
    assert main(["report", str(folder)]) == 0
    assert "as it was" in capsys.readouterr().out
    assert main(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] is None
    assert (folder / "report.html").read_bytes() == before
    broken = json.loads((folder / "report.json").read_text("utf-8"))
    del broken["data"]
    with pytest.raises(ValueError, match="does not hold"):
        kbert.write_report(kbert.TrainedRun(folder, run.config, broken))


def test_a_run_goes_wherever_a_path_goes(runs, tmp_path):
    run = runs["classify"]
    out = run.export("keras", tmp_path / "out")
    assert (out / "model.keras").is_file()
    assert kbert.load_run(str(run.path)).label_names == run.label_names


def test_slices_are_refused_before_training_where_they_cannot_be(tmp_path):
    frame = pd.DataFrame({**TABLES["classify"], "score": np.arange(120) / 7})
    with pytest.raises(ValueError, match="has no column 'soruce'"):
        kbert.train(frame, label="label", slices=["soruce"], out=tmp_path / "a")
    with pytest.raises(ValueError, match="are for classes and labels; the task regr"):
        kbert.train(frame, label="score", slices=["label"], out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_long_texts_are_read_as_asked_where_the_task_can(tmp_path):
    frame = pd.DataFrame(TABLES["classify"])
    run = kbert.train(
        frame,
        preset=tiny.build_preset(),
        out=tmp_path / "a",
        long_text="windows",
        max_length=8,
        **SETTINGS,
    )
    assert run.config["long_text"] == "windows"
    sentences = " ".join(run.report["data"]["sentences"])
    assert "window" in sentences or "No text was cut" in sentences
    assert "--long-text windows" in run.report["command"]
    assert run.report["trust"]["calibration"]["temperature"] > 0
    written = pd.read_csv(run.path / "predictions.csv")
    found = kbert.load_run(run.path).predict(written["text"].tolist())
    np.testing.assert_allclose(
        found["probability_good"], written["probability_good"], atol=1e-4
    )
    with pytest.raises(
        ValueError, match="task tag reads long texts in windows of its own"
    ):
        kbert.train(
            ([["a", "b"]] * 20, [["O", "B-X"]] * 20),
            task="tag",
            preset=tiny.build_preset(),
            long_text="windows",
            out=tmp_path / "b",
        )
    with pytest.raises(ValueError, match="long_text .* can be truncate, head-tail"):
        kbert.train(
            frame.assign(label=np.arange(120) / 7),
            preset=tiny.build_preset(),
            long_text="windows",
            out=tmp_path / "b",
        )
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_what_is_cut_is_said_once(tmp_path, capsys, caplog):
    frame = pd.DataFrame(TABLES["classify"])
    options = {"preset": tiny.build_preset(), "max_length": 5, **SETTINGS}
    kbert.train(frame, out=tmp_path / "a", **options)
    shown = capsys.readouterr()
    assert shown.out.count("were cut to 5 tokens") == 1
    assert "were cut" not in shown.err + caplog.text


@pytest.mark.slow
def test_layout_and_stratify_flags_reach_the_data(tmp_path, capsys):
    rows = ["label|text", *(f'{"ab"[n % 2]}|a "film {n}' for n in range(40)), "c|one"]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    line = ["train", str(path), "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(line) == 2
    assert "--no-" in capsys.readouterr().err
    assert main([*line, "--no-quoting", "--quoting"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert main([*line, "--no-quoting"]) == 2
    assert "--no-stratify" in capsys.readouterr().err
