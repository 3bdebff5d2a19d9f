"""The spam recipe: what it reads, how it trains, what it says."""

import csv
import json
import shutil

import pytest
import tiny

from kbert import cli
from kbert.recipes import command, running, sources, spam, spam_data
from kbert.recipes.flags import Flags

TINY = {"epochs": 1, "max_length": 20, "precision": "float32", "limit": 120}


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    """No caches of this machine, no network."""
    monkeypatch.setattr(spam_data, "find_hub_dataset", lambda name: None)


def run(monkeypatch, folder, names=("frozen",), *, preset=None, **flags):
    """Run strategies on the sample with a tiny encoder; return the records."""
    found = preset or tiny.build_preset()
    monkeypatch.setattr(running.presets, "resolve_preset", lambda *_: (found, None))
    given = Flags(**(TINY | flags), data=spam_data.SAMPLE, out=folder)
    running.run_experiment(spam.EXPERIMENT, given, names)
    paths = sorted(folder.rglob("record.json"))
    return [json.loads(path.read_text("utf-8")) for path in paths]


def load(data, **flags):
    return spam_data.load_spam(Flags(data=data, **flags))


def test_documented_settings_are_the_defaults():
    config = cli.parse(command.build_config(spam.EXPERIMENT), [])
    assert command.choose(spam.EXPERIMENT, config) == ["frozen"]
    settings = spam.EXPERIMENT.variants["frozen"].settings.override(config.flags)
    assert (settings.epochs, settings.learning_rate) == (10, 1e-5)
    assert (settings.max_length, settings.pooling) == (25, "pooler")
    assert settings.schedule is None and settings.dropout == 0.1


def test_only_the_frozen_strategy_is_repeated_as_documented(capsys):
    config = command.build_config(spam.EXPERIMENT)
    parsed = cli.parse(config, ["--strategy", "all", "--as-documented"])
    assert command.choose(spam.EXPERIMENT, parsed) == ["frozen"]
    assert spam.main(["--strategy", "full", "--as-documented"]) == 2
    assert "--strategy full is none of them" in capsys.readouterr().err


def test_the_claims_are_the_documents_table():
    claims = {c.key: c.value for c in spam.EXPERIMENT.variants["frozen"].claims}
    assert claims["precision.ham"] == 0.98 and claims["recall.ham"] == 0.97
    spam_row = [claims[f"{name}.spam"] for name in ("precision", "recall", "f1")]
    assert spam_row == [0.81, 0.90, 0.86]
    assert (claims["accuracy"], claims["f1_macro"], claims["f1_weighted"]) == (
        0.96,
        0.92,
        0.96,
    )
    assert claims["most words of a message"] == 162
    assert (claims["test messages, ham"], claims["test messages, spam"]) == (724, 112)
    assert len(claims) == 20


# === Data ===


def test_the_real_messages_are_cut_as_documented(shared_data):
    found = load(shared_data("spam"))
    sizes = {name: len(part) for name, part in found.splits.parts.items()}
    assert sizes == {"train": 3_900, "validation": 836, "test": 836}
    labels = found.splits.test.labels.tolist()
    assert (labels.count(0), labels.count(1)) == (724, 112)
    assert found.is_documented and found.label_names == ("ham", "spam")
    assert any("747 of 5,572 messages (13.4%)" in line for line in found.sentences)
    assert found.figures["test messages, ham"] == 724
    assert found.figures["test messages, spam"] == 112
    assert found.figures["fewest words of a message"] == 1
    assert found.splits.findings.nulls.count == 0
    assert found.splits.findings.duplicates.count == 403


def test_the_documented_lengths_are_those_of_a_training_part(shared_data):
    """All messages: 1 to 171 words. With one seed of some the document's come out."""
    found = load(shared_data("spam"), seed=216)
    study = spam_data.study_lengths(found.splits.train.texts)
    assert (study.shortest, study.longest) == (1, 162)
    assert study.commonest == (6, 308)
    lengths, times = study.rarest
    assert 66 in lengths and times == 1
    everything = [t for part in found.splits.parts.values() for t in part.texts]
    assert spam_data.study_lengths(everything).longest == 171


def test_the_collection_is_read_as_it_was_published(shared_data):
    found = load(shared_data("spam") / "SMSSpamCollection")
    assert sum(map(len, found.splits.parts.values())) == 5_574
    assert found.splits.label_names == ("ham", "spam") and found.is_documented


def test_a_study_counts_words():
    study = spam_data.study_lengths(["a", "b c", "d  e", "f g h", "i j"])
    assert (study.shortest, study.longest) == (1, 3)
    assert study.commonest == (2, 3) and study.rarest == ((1, 3), 1)
    assert "1 to 3 words, most often 2 (3 messages)" in study.describe()


def test_the_hubs_messages_are_taken_where_they_can_be_had(monkeypatch):
    import datasets

    rows = {"sms": [f"hello {i}\n" for i in range(40)], "label": [0, 1] * 20}
    names = datasets.ClassLabel(names=["ham", "spam"])
    features = datasets.Features({"sms": datasets.Value("string"), "label": names})
    hub = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features))
    asked = []
    monkeypatch.setattr(
        spam_data, "find_hub_dataset", lambda name: asked.append(name) or hub
    )
    found = load(None)
    assert asked == ["ucirvine/sms_spam"] and found.notice is None
    assert found.words == "the hub's ucirvine/sms_spam" and not found.is_documented
    assert len(found.splits.train) == 28


def test_the_sample_stands_in_and_has_the_real_files_quirks():
    found = load(None)
    assert "bundled sample" in found.notice and not found.is_documented
    with (sources.SAMPLES / "spam" / "spam.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = "\n".join(row["text"] for row in rows)
    for quirk in ("å£", "&lt;#&gt;", "150p", "...", "u r", "  "):
        assert quirk in text, quirk
    assert 0.1 < sum(row["label"] == "1" for row in rows) / len(rows) < 0.2
    assert found.splits.findings.duplicates.count >= 3


# === Runs ===


def test_a_run_reports_each_class_beside_the_documents(monkeypatch, tmp_path):
    (record,) = run(monkeypatch, tmp_path / "run")
    figures = record["figures"]
    assert {"precision.ham", "recall.spam", "f1.spam", "f1_macro"} <= set(figures)
    assert record["split"] == "test"
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert len(report["documented"]) == 20
    assert all(row["measured"] is not None for row in report["documented"])
    deviations = " ".join(report["deviations"])
    assert "without the document's dropout" in deviations
    assert "no batch size" in deviations
    assert any("are spam" in line for line in report["data"]["sentences"])
    assert "cut at 20" in (tmp_path / "run" / "report.html").read_text("utf-8")


def watch(monkeypatch):
    """Collect the models that are trained."""
    import kbert

    models, build = [], kbert.build_classifier
    monkeypatch.setattr(
        kbert,
        "build_classifier",
        lambda *a, **k: models.append(build(*a, **k)) or models[-1],
    )
    return models


@pytest.mark.slow
def test_strategies_train_what_they_say(monkeypatch, tmp_path):
    models = watch(monkeypatch)
    for name in ("frozen", "partial", "full"):
        run(monkeypatch, tmp_path / name, [name])
    frozen, partial, full = (
        {weight.path.split("/")[0] for weight in model.trainable_weights}
        for model in models
    )
    assert frozen == {"head_hidden", "probabilities"}
    # Two layers: the upper one trains, the lower and the embeddings do not.
    assert {"transformer_layer_1", "pooled_dense"} < partial
    assert not partial & {"transformer_layer_0", "token_embedding"}
    assert {"transformer_layer_0", "token_embedding"} < full


@pytest.mark.slow
def test_as_documented_the_frozen_encoder_drops_values(monkeypatch, tmp_path):
    models = watch(monkeypatch)
    (record,) = run(monkeypatch, tmp_path / "run", as_documented=True)
    assert models[0].backbone.frozen_dropout
    assert not any("dropout" in line for line in record["deviations"])
    (other,) = run(monkeypatch, tmp_path / "other")
    assert not models[1].backbone.frozen_dropout
    assert record["figures"]["loss.1"] != other["figures"]["loss.1"]


@pytest.mark.slow
def test_the_sample_run_ends_by_itself(tmp_path, capsys):
    argv = ["--preset", "all_minilm_l6_v2_en", "--strategy", "frozen_tuned"]
    assert spam.main([*argv, "--limit", "100", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "bundled sample" in printed and "the document has no such run" in printed


# === Bad input ===


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("v1,v2\nham,hello\nspam,win\n", "no column 'text'"),
        ("label,text\n" + "good,a b\nbad,c d\n" * 20, "must hold 0 and 1, or ham"),
        ("label,text\n" + "0,a b\n" * 20, "has one class only"),
    ],
)
def test_data_of_another_kind_is_refused(tmp_path, capsys, text, sentence):
    (tmp_path / "mine.csv").write_text(text)
    assert spam.main(["--data", str(tmp_path / "mine.csv")]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_a_folder_without_the_messages_is_refused(tmp_path, capsys):
    assert spam.main(["--data", str(tmp_path)]) == 1
    assert "has no spamdata_v2.csv" in capsys.readouterr().err


def test_a_folder_may_hold_either_file(tmp_path):
    shutil.copy(spam_data.SAMPLE / "spam.csv", tmp_path)
    assert len(load(tmp_path).splits.test) == 39


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--strategy", "frozn"], "Did you mean frozen?"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_wrong_flags_are_answered_in_a_sentence(capsys, argv, sentence):
    assert spam.main(argv) == 2
    assert sentence in capsys.readouterr().err


def test_an_encoder_without_a_pooler_is_told_what_to_do(monkeypatch, tmp_path):
    preset = tiny.build_preset("distil_bert")
    with pytest.raises(ValueError, match="Choose frozen_tuned or full_tuned"):
        run(monkeypatch, tmp_path / "run", preset=preset)
