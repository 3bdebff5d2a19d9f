"""What a run says about its data and how far to trust it, and its report anew."""

import contextlib
import html
import io
import json

import numpy as np
import pandas as pd
import pytest
import tiny

import kbert
from kbert.commands.main import main
from kbert.runs import seen

TEXTS, LABELS = tiny.write_texts(120)
SETTINGS = {"epochs": 2, "learning_rate": 3e-3, "precision": "float32"}
SOURCE = [("mail", "web")[row % 2] for row in range(120)]
TABLES = {
    "classify": {"text": TEXTS, "label": np.where(LABELS, "good", "bad")},
    "multilabel": {
        "text": TEXTS,
        "label": [("good|" if good else "") + "film; series" for good in LABELS],
    },
    "regress": {"text": TEXTS, "label": LABELS * 3 + np.arange(120) / 97},
}
RULES = {"classify": {"threshold": "cost", "cost_false_negative": 4}}
SAID: dict[str, io.StringIO] = {}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of each task of a table, with a slice by a column."""
    folder = tmp_path_factory.mktemp("trust")
    found = {}
    for name, table in TABLES.items():
        path = folder / f"{name}.csv"
        pd.DataFrame({**table, "source": SOURCE}).to_csv(path, index=False)
        with contextlib.redirect_stdout(SAID.setdefault(name, io.StringIO())):
            found[name] = kbert.train(
                path,
                task=name,
                text="text",
                label="label",
                preset=tiny.build_preset(),
                out=folder / name,
                slices=["source"],
                **RULES.get(name, {}),
                **SETTINGS,
            )
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_run_tells_how_far_to_trust_its_model(runs, name):
    run = runs[name]
    trust = run.report["trust"]
    assert trust["split"] == "test" and not trust["notes"]
    if name != "regress":
        assert trust["fitted_on"] == "validation"
        assert trust["calibration"]["temperature"] > 0
    assert [one["name"] for one in trust["slices"]] == ["length", "source"]
    assert trust["baseline"]["num_examples"] == run.metrics["num_examples"]
    # Equal texts have scores of their own there.
    same = "conflicts" if name == "regress" else "duplicates"
    assert same in {check["kind"] for check in run.report["checks"]}
    (check,) = [one for one in run.report["checks"] if one["kind"] == same]
    assert 1 <= len(check["examples"]) <= 5
    page = (run.path / "report.html").read_text("utf-8")
    shown = html.unescape(page)
    assert check["sentence"] in shown and check["examples"][0]["detail"] in shown
    places = [
        page.index(words)
        for words in (
            "What is wrong with the data",
            "Beside a baseline",
            "Which probability is enough",
            "Where it is weak",
        )
        if name != "regress" or words != "Which probability is enough"
    ]
    assert places == sorted(places)
    assert run.config["slices"] == ["source"]


@pytest.mark.parametrize("name", ["classify", "multilabel"])
def test_the_saved_model_is_the_one_that_was_measured(runs, name):
    """Calibration is in its weights, and its thresholds are those of the report."""
    run = runs[name]
    again = kbert.load_run(run.path)
    chosen = [one["threshold"] for one in run.report["trust"]["thresholds"]]
    key = "threshold" if name == "classify" else "thresholds"
    kept = again.model.metadata[key]
    assert (kept if name == "multilabel" else [kept]) == chosen
    written = pd.read_csv(run.path / "predictions.csv")
    found = again.predict(written["text"].tolist())
    np.testing.assert_allclose(
        found["probability_good"], written["probability_good"], atol=1e-5
    )
    assert found["label"].fillna("").tolist() == written["label"].fillna("").tolist()


def test_labels_are_parted_everywhere_as_in_training(runs, tmp_path):
    run = runs["multilabel"]
    assert run.label_names == ("film; series", "good")
    assert "--separator '|'" in run.report["command"]
    assert "are parted at '|'; pass separator=" in SAID["multilabel"].getvalue()
    rows = {"text": TEXTS[:9], "label": ["film; series"] * 9}
    pd.DataFrame(rows).to_csv(tmp_path / "v.csv", index=False)
    for source in (tmp_path / "v.csv", pd.DataFrame(rows)):
        assert run.evaluate(source)["num_examples"] == 9


def test_a_threshold_that_is_asked_for_is_what_everything_goes_by(runs, tmp_path):
    run = runs["classify"]
    (found,) = run.report["trust"]["thresholds"]
    assert found["by"] == "cost" and found["is_used"] and found["threshold"] != 0.5
    rows = pd.read_csv(run.path / "predictions.csv")
    is_good = rows["probability_good"] >= found["threshold"]
    assert (rows["label"] == np.where(is_good, "good", "bad")).all()
    assert (is_good != (rows["probability_good"] >= 0.5)).any()
    accuracy = (rows["label"] == rows["true_label"]).mean()
    assert run.metrics["accuracy"]["value"] == pytest.approx(accuracy)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    again = run.evaluate(tmp_path / "rows.csv", label="true_label")
    assert again["accuracy"]["value"] == pytest.approx(accuracy)
    assert (
        "--threshold cost --cost-false-positive 1.0 --cost-false-negative 4"
        in (run.report["command"])
    )
    assert "This model calls a row" in (run.path / "report.html").read_text("utf-8")
    folder = kbert.export(run, "keras", tmp_path / "out")
    card = (folder / "README.md").read_text("utf-8")
    assert "'good' from a probability of" in card
    assert "The figures are at this threshold of the probability: `good` from" in card
    figures = run.report["trust"]["baseline"]["figures"]
    assert figures["accuracy"]["model"] == pytest.approx(accuracy)


def train_classes(out, **changes):
    """Train for a moment, by cost."""
    options = {"preset": tiny.build_preset(), "threshold": "cost", "epochs": 1}
    costs = {"cost_false_negative": 4}
    return kbert.train(
        pd.DataFrame(TABLES["classify"]), out=out, **{**options, **costs, **changes}
    )


def test_which_class_is_the_positive_one_is_said_before_training(runs):
    said = SAID["classify"].getvalue()
    assert (
        "Task      classify: bad, good\nThreshold by cost, from the probability of "
        "'good'; a false positive is a row wrongly called 'good'\n" in said
    )
    assert "Threshold" not in SAID["multilabel"].getvalue()


@pytest.mark.slow
def test_a_threshold_that_cannot_be_chosen_is_missed_aloud(tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kbert.report.settling._choose", lambda *_: 1 / 0)
        run = train_classes(tmp_path / "a")
    shown = capsys.readouterr().out
    assert "Warning   The threshold that was asked for could not be chosen" in shown
    assert "threshold" not in run.model.metadata
    assert run.model.metadata["temperature"] > 0


@pytest.mark.slow
def test_labels_of_a_model_that_is_not_settled_are_given_from_a_half(
    tmp_path, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kbert.report.settling._choose", stop)
    with pytest.raises(
        KeyboardInterrupt, match=r"each label from a probability of 0.5"
    ):
        kbert.train(
            pd.DataFrame(TABLES["multilabel"]),
            task="multilabel",
            preset=tiny.build_preset(),
            out=tmp_path / "a",
            epochs=1,
        )
    found = kbert.load_run(tmp_path / "a").predict(TEXTS[:20])
    is_good = found["label"].fillna("").str.split("|").map(lambda row: "good" in row)
    assert (is_good == (found["probability_good"] >= 0.5)).all()


def test_a_model_is_calibrated_and_has_its_thresholds_or_neither(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kbert.report.settling._choose", stop)
    with pytest.raises(KeyboardInterrupt, match="The threshold that was asked for is"):
        train_classes(tmp_path / "a")
    assert not kbert.load_run(tmp_path / "a").model.metadata.keys() & {
        "temperature",
        "threshold",
    }


def test_scores_have_a_baseline_slices_and_explained_errors(runs):
    pytest.importorskip("captum")
    run = runs["regress"]
    trust = run.report["trust"]
    assert trust["baseline"]["name"] == "TF-IDF + ridge regression"
    assert trust["warning"].startswith("This model does not beat the baseline")
    assert {one["figure"] for one in trust["slices"]} == {"mean_absolute_error"}
    rows = pd.read_csv(run.path / "predictions.csv").set_index("row")
    errors = (rows["label"] - rows["true_label"]).abs().sort_values(ascending=False)
    explained = [one["row"] for one in trust["explanations"]]
    assert explained == errors.index[: len(explained)].tolist()
    for one in trust["explanations"]:
        total = sum(token["attribution"] for token in one["tokens"])
        shift = one["value"] - one["baseline_value"]
        assert one["converged"] and abs(total - shift) <= 0.05 * abs(shift)
        assert one["value"] == pytest.approx(rows["label"][one["row"]], abs=1e-3)
    worst = run.report["mistakes"][0]
    assert worst["row"] == explained[0] and abs(worst["error"]) == errors.iloc[0]
    page = (run.path / "report.html").read_text("utf-8")
    assert "The largest errors" in page and "What its largest errors hang on" in page


def test_rows_that_a_model_was_trained_on_are_said(runs, caplog, monkeypatch):
    run = runs["classify"]
    path = run.path.parent / "classify.csv"
    run.evaluate(path)
    trained = kbert.load_splits(
        path, text="text", label="label", validation=0.15, test=0.15
    ).train
    known = sum(text in set(trained.texts) for text in TEXTS)
    assert f"{known} of 120 rows of classify.csv have texts that this" in caplog.text
    caplog.clear()
    run.evaluate((["one film", "two plots"], ["good", "bad"]))
    assert "trained on" not in caplog.text
    monkeypatch.setattr(seen, "_MOST_HASHES", 20)
    folder = kbert.report.RunFolder(run.path)
    seen.write_seen(folder, trained)
    said = seen.describe_seen(run.path, trained, "it")
    assert said.startswith(f"about 100.0% of {len(trained)} rows of it have texts")
    for damaged in (b"", (run.path / seen.SEEN_FILE).read_bytes()[:-4], b"PK"):
        (run.path / seen.SEEN_FILE).write_bytes(damaged)
        assert seen.describe_seen(run.path, trained, "it") is None
        assert run.evaluate((TEXTS[:2], ["good", "bad"]))["num_examples"] == 2
    (run.path / seen.SEEN_FILE).unlink()
    assert seen.describe_seen(run.path, trained, "it") is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"label": "score", "threshold": 0.3}, "the task regress decides without one"),
        ({"label": "three", "threshold": "f1"}, "is for two classes; these are 3"),
        ({"threshold": "f1", "validation": 0}, "needs validation rows"),
        ({"separator": ";"}, "the task classify has none"),
        ({"task": "tag", "delimiter": ";"}, "delimiter .* has no use for the task tag"),
        ({"task": "answer", "stratify": False}, "no-stratify.* no use for .* answer"),
        ({"threshold": "f2"}, "must be f1, accuracy, cost or a number between 0 and 1"),
        ({"threshold": "1.5"}, "a number between 0 and 1; received 1.5"),
        ({"threshold": "cost"}, "pass cost_false_positive or cost_false_negative"),
        ({"threshold": "f1", "cost_false_positive": 2}, "is for threshold 'cost'"),
    ],
)
def test_what_the_task_has_no_use_for_is_refused(tmp_path, arguments, sentence):
    frame = pd.DataFrame({**TABLES["classify"], "score": np.arange(120) / 7})
    frame["three"] = ["a", "b", "c"] * 40
    given = {"label": "label", "preset": tiny.build_preset(), **arguments}
    with pytest.raises(ValueError, match=sentence):
        kbert.train(frame, out=tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


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


def test_another_threshold_can_be_given_without_training_again(runs, capsys):
    run, texts = runs["classify"], TEXTS[:40]
    plain = run.predict(texts)
    limit = float(plain["probability_good"].median())
    found = run.predict(texts, threshold=limit)
    expected = np.where(plain["probability_good"] >= limit, "good", "bad")
    np.testing.assert_array_equal(found["label"], expected)
    labels = list(TABLES["classify"]["label"][:40])
    figures = run.evaluate((texts, labels), threshold=limit)
    assert figures["accuracy"]["value"] == np.mean(expected == labels)
    assert run.predict(texts)["label"].tolist() == plain["label"].tolist()
    several = runs["multilabel"].predict(texts, threshold=0.999)
    assert set(several["label"]) == {""}
    with pytest.raises(ValueError, match="number between 0 and 1; received 'f1'"):
        run.predict(texts, threshold="f1")
    with pytest.raises(ValueError, match="the task regress decides without one"):
        runs["regress"].evaluate((texts, [1.0] * 40), threshold=0.3)
    assert main(["predict", str(run.path), "-", "--threshold", "1.5"]) == 2
    assert "between 0 and 1; received 1.5" in capsys.readouterr().err


def test_a_run_goes_wherever_a_path_goes(runs, tmp_path):
    run = runs["classify"]
    out = run.export("keras", tmp_path / "out")
    assert (out / "model.keras").is_file()
    assert kbert.load_run(str(run.path)).label_names == run.label_names


def test_slices_are_refused_before_training_where_they_cannot_be(tmp_path):
    frame = pd.DataFrame({**TABLES["classify"], "score": np.arange(120) / 7})
    with pytest.raises(ValueError, match="has no column 'soruce'"):
        kbert.train(frame, label="label", slices=["soruce"], out=tmp_path / "a")
    words = ([["a", "b"]] * 20, [["O", "B-X"]] * 20)
    with pytest.raises(ValueError, match="name columns of a table; the task tag has"):
        kbert.train(words, task="tag", slices=["label"], out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_long_texts_are_read_in_windows(tmp_path, name):
    run = kbert.train(
        pd.DataFrame(TABLES[name]),
        preset=tiny.build_preset(),
        out=tmp_path / "a",
        task=name,
        long_text="windows",
        max_length=8,
        **SETTINGS,
    )
    assert run.config["long_text"] == "windows"
    sentences = " ".join(run.report["data"]["sentences"])
    assert "window" in sentences or "No text was cut" in sentences
    assert "long_text='windows'" in run.report["command"]
    column = "label" if name == "regress" else "probability_good"
    if name != "regress":
        assert run.report["trust"]["calibration"]["temperature"] > 0
    written = pd.read_csv(run.path / "predictions.csv")
    found = kbert.load_run(run.path).predict(written["text"].tolist())
    np.testing.assert_allclose(found[column], written[column], atol=1e-4)
    assert len(run.explain(written["text"][0]).tokens)


def test_a_task_with_windows_of_its_own_takes_no_others(tmp_path):
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
