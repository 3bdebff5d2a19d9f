"""The tweets recipe: what it reads, what it writes, what it says."""

import functools
import json
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from kbert import cli
from kbert.recipes import command, sources, tweets, tweets_data
from kbert.recipes.flags import Flags

METRICS = ("accuracy", "log_loss")
EMBEDDED = "all_minilm_l6_v2_en"
FILES = [
    "config.json",
    "history.csv",
    "model.keras",
    "record.json",
    "report.html",
    "report.json",
    "report.md",
    "submission.csv",
]


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch, tmp_path):
    """No Kaggle account, no caches of this machine, no network."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("kagglehub.config.get_kaggle_credentials", lambda: None)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """One run on the sample: its folder and what it printed."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("runs") / "small"
    argv = ["--data", str(tweets_data.SAMPLE), "--preset", EMBEDDED, "--limit", "96"]
    argv += ["--epochs", "2", "--out", str(folder), "--precision", "float32"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert tweets.main(argv) == 0
    return folder, printed.getvalue()


def load(data, limit=None):
    return tweets_data.load_tweets(Flags(data=data, limit=limit))


def read_report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def parse(*argv: str):
    return cli.parse(command.build_config(tweets.EXPERIMENT), argv)


def test_documented_settings_are_the_defaults():
    config = parse()
    assert command.choose(tweets.EXPERIMENT, config) == ["fixed"]
    settings = tweets.EXPERIMENT.variants["fixed"].settings.override(config.flags)
    assert (settings.epochs, settings.batch_size) == (4, 32)
    assert settings.learning_rate == 2e-5 and settings.max_length is None
    assert config.flags.seed == 42
    assert config.flags.preset is config.flags.data is None


def test_flags_replace_documented_settings():
    config = parse("--epochs", "2", "--learning-rate", "0.001", "--max-length", "20")
    settings = tweets.EXPERIMENT.variants["fixed"].settings.override(config.flags)
    assert (settings.epochs, settings.learning_rate, settings.max_length) == (
        2,
        1e-3,
        20,
    )
    assert settings.batch_size == 32


def test_as_documented_takes_the_documented_cleaning():
    choose = functools.partial(command.choose, tweets.EXPERIMENT)
    assert choose(parse("--as-documented")) == ["documented"]
    assert choose(parse("--cleaning", "all")) == ["fixed", "documented", "none"]
    assert choose(parse("--cleaning", "all", "--as-documented")) == ["documented"]
    with pytest.raises(ValueError, match="--cleaning none is none of them"):
        choose(parse("--cleaning", "none", "--as-documented"))


def test_a_run_leaves_its_files(small_run):
    folder, _ = small_run
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_the_report_has_what_others_read_from_it(small_run):
    report = read_report(small_run[0])
    wanted = {"recipe", "preset", "data", "device", "seed", "metrics", "documented"}
    assert wanted | {"deviations", "seconds"} <= set(report)
    assert report["recipe"] == "tweets" and report["seed"] == 42
    assert {"rows", "label_counts"} <= set(report["data"])


def test_a_sample_is_never_compared_with_documented_figures(small_run):
    rows = read_report(small_run[0])["documented"]
    assert rows and not any(row["comparable"] for row in rows)


def test_the_report_measures_the_model_of_the_epoch_that_it_names(small_run):
    """What was validated, kept, measured and saved are one model."""
    import kbert

    folder, _ = small_run
    written = read_report(folder)
    kept = written["history"][written["kept_epoch"] - 1]
    best = max(epoch["val_accuracy"] for epoch in written["history"])
    assert kept["val_accuracy"] == best
    measured = {name: written["metrics"][name]["value"] for name in METRICS}
    assert measured["log_loss"] == pytest.approx(kept["val_loss"], rel=1e-4)
    assert measured["accuracy"] == pytest.approx(kept["val_accuracy"], abs=1e-6)
    model = kbert.load_model(folder / "model.keras")
    data = load(tweets_data.SAMPLE, limit=96)
    rows = data.splits.validation
    found = kbert.evaluation.compute_metrics(rows.labels, model.predict(rows), "01")
    assert found["log_loss"]["value"] == pytest.approx(measured["log_loss"], rel=1e-5)


def test_the_report_names_the_classes_as_people_read_them(small_run):
    folder, _ = small_run
    written = read_report(folder)
    assert written["label_names"] == ["other", "disaster"]
    assert set(written["data"]["label_counts"]["train"]) == {"other", "disaster"}
    assert {row["label_name"] for row in written["mistakes"]} <= {"other", "disaster"}
    assert "For “disaster”" in (folder / "report.html").read_text("utf-8")


def test_the_data_are_named_as_they_were_asked_for(small_run, monkeypatch, tmp_path):
    """Nobody needs to know where this machine keeps the sample or Kaggle's cache."""
    assert read_report(small_run[0])["data"]["source"] == str(tweets_data.SAMPLE)
    sample = load(None)
    assert sample.words == "kbert's bundled sample"
    monkeypatch.setattr(
        tweets_data, "find_kaggle_competition", lambda name: tweets_data.SAMPLE
    )
    cached = load(None)
    assert cached.words == "Kaggle's nlp-getting-started" and cached.notice is None


def test_the_submission_has_every_test_tweet_in_order(small_run):
    folder, _ = small_run
    lines = (folder / "submission.csv").read_text("utf-8").splitlines()
    test = load(tweets_data.SAMPLE)
    assert lines[0] == "id,target"
    assert [int(line.split(",")[0]) for line in lines[1:]] == test.extra["test_ids"]
    assert {line.split(",")[1] for line in lines[1:]} <= {"0", "1"}


def test_the_history_has_a_line_an_epoch(small_run):
    header, *epochs = (small_run[0] / "history.csv").read_text("utf-8").splitlines()
    assert {"epoch", "loss", "val_accuracy", "seconds"} <= set(header.split(","))
    assert len(epochs) == 2


def test_the_console_names_preset_data_and_paths(small_run):
    folder, printed = small_run
    assert EMBEDDED in printed and str(tweets_data.SAMPLE) in printed
    assert "epoch 2/2" in printed
    *_, a, b, c, d, e = printed.splitlines()
    assert any(str(folder / "report.html") in line for line in (a, b, c, d, e))
    assert any("submission.csv" in line for line in (a, b, c, d, e))


def test_the_saved_model_gives_the_submitted_predictions(small_run):
    import kbert

    folder, _ = small_run
    found = load(tweets_data.SAMPLE)
    classes = kbert.load_model(folder / "model.keras").predict(found.splits.test)
    lines = (folder / "submission.csv").read_text("utf-8").splitlines()[1:]
    assert [int(line.split(",")[1]) for line in lines] == classes.argmax(1).tolist()


BLOCKED = ("keras_hub", "tensorflow", "tensorflow_text", "transformers", "datasets")


@pytest.mark.slow
def test_the_main_path_needs_neither_kerashub_nor_tensorflow(tmp_path):
    argv = ["--data", str(tweets_data.SAMPLE), "--preset", EMBEDDED, "--limit", "32"]
    argv += ["--epochs", "1", "--out", str(tmp_path / "run")]
    code = (
        f"import sys; sys.modules |= dict.fromkeys({BLOCKED!r}); "
        f"from kbert.recipes import tweets; sys.exit(tweets.main({argv!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES


def test_a_train_file_alone_gives_no_submission(tmp_path):
    train = (tweets_data.SAMPLE / "train.csv").read_bytes()
    (tmp_path / "mine.csv").write_bytes(train)
    found = load(tmp_path / "mine.csv")
    assert found.splits.test is None and found.notice is None


def test_the_sample_stands_in_where_kaggle_is_out_of_reach():
    found = load(None)
    assert "bundled sample" in found.notice and not found.is_documented
    assert set(found.splits.train.labels) == {0, 1}


def test_kaggles_cache_is_used_without_asking(tmp_path):
    folder = tmp_path / "kagglehub" / "competitions" / "some-contest"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("id\n")
    assert sources.find_kaggle_competition("some-contest") == folder


@pytest.mark.parametrize("outcome", ["works", "fails", "hangs"])
def test_kaggle_is_tried_once_and_given_up_quickly(monkeypatch, tmp_path, outcome):
    calls = []

    def download(competition):
        calls.append(competition)
        if outcome == "fails":
            raise ConnectionError("no network")
        if outcome == "hangs":
            time.sleep(1)
        (tmp_path / "train.csv").write_text("id\n")
        return str(tmp_path)

    config = types.SimpleNamespace(
        get_cache_folder=lambda: str(tmp_path / "none"),
        get_kaggle_credentials=lambda: ("somebody", "key"),
    )
    fake = types.SimpleNamespace(config=config, competition_download=download)
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    found = sources.find_kaggle_competition("some-contest", timeout_seconds=0.5)
    assert found == (tmp_path if outcome == "works" else None)
    assert calls == ["some-contest"]


def test_the_sample_has_the_real_files_quirks():
    text = (tweets_data.SAMPLE / "train.csv").read_text("utf-8")
    assert text.startswith("id,keyword,location,text,target\n")
    for quirk in ("http://t.co/", "&amp;", "\x89Û", "%20", "#", "@", "\n\nHwy 41"):
        assert quirk in text, quirk
    found = load(tweets_data.SAMPLE)
    findings = found.splits.findings.to_json()
    assert findings["duplicates"]["count"] and findings["conflicts"]["count"]


def test_the_real_tweets_are_cut_as_documented(shared_data):
    found = load(shared_data("tweets"))
    assert len(found.splits.train) == 6_090
    assert len(found.splits.validation) == 1_523
    assert found.is_documented
    assert len(found.splits.test) == 3_263 and found.extra["test_ids"][:3] == [0, 2, 3]


def test_a_limited_run_is_not_the_documented_one(shared_data):
    found = load(shared_data("tweets"), limit=200)
    assert not found.is_documented
    assert len(found.splits.test) == 3_263, "a limit is for training"


@pytest.mark.slow
def test_the_real_tweets_reach_the_documented_neighbourhood(shared_data, tmp_path):
    folder = tmp_path / "run"
    argv = ["--data", str(shared_data("tweets")), "--preset", EMBEDDED]
    assert tweets.main([*argv, "--out", str(folder)]) == 0
    assert read_report(folder)["metrics"]["accuracy"]["value"] >= 0.80
    assert len((folder / "submission.csv").read_text().splitlines()) == 3_264


@pytest.mark.parametrize("place", ["cache", "hub", "nowhere"])
def test_a_hub_data_set_is_taken_from_the_cache_or_asked_for_once(monkeypatch, place):
    calls = []

    def load_dataset(repository, configuration):
        import datasets

        offline = datasets.config.HF_HUB_OFFLINE
        calls.append((repository, configuration, offline))
        if offline and place != "cache":
            raise ConnectionError("not cached")
        return place

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources, "hub_answers", lambda: place != "nowhere")
    found = sources.find_hub_dataset("nyu-mll/glue", "mrpc")
    asked = [("nyu-mll/glue", "mrpc", True), ("nyu-mll/glue", "mrpc", False)]
    assert found == (None if place == "nowhere" else place)
    assert calls == (asked if place == "hub" else asked[:1])


def test_nobody_is_asked_for_data_when_offline(monkeypatch):
    monkeypatch.setattr("kbert.presets.fetch.probe", lambda *_: pytest.fail("asked"))
    assert sources.find_hub_dataset("nyu-mll/glue", "mrpc") is None
