"""The mrpc recipe: what it reads, how runs follow one another, what it writes."""

import dataclasses
import json
import types

import pandas as pd
import pytest
import tiny

from kbert import cli, report
from kbert.recipes import command, mrpc, mrpc_data, running
from kbert.recipes.flags import Flags
from kbert.recipes.trial import Trial

VARIANTS = mrpc.EXPERIMENT.variants
TINY = {"epochs": 1, "batch_size": 8, "max_length": 24, "precision": "float32"}
HEADER = "sentence1,sentence2,label\n"
PAIRS = HEADER + "a film,a good film,1\nthe plot,an actor,0\n" * 30


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    """No caches of this machine, no network; a tiny encoder."""
    monkeypatch.setattr(mrpc_data, "find_hub_dataset", lambda *_: None)
    preset = tiny.build_preset()
    monkeypatch.setattr(running.presets, "resolve_preset", lambda *_: (preset, None))


def run(folder, names=("baseline",), *, experiment=mrpc.EXPERIMENT, **flags):
    """Run variants, on the sample unless told; return the records in their order."""
    given = Flags(**(TINY | {"data": mrpc_data.SAMPLE} | flags), out=folder)
    running.run_experiment(experiment, given, names)
    found = [json.loads(p.read_text("utf-8")) for p in folder.rglob("record.json")]
    return sorted(found, key=lambda record: list(VARIANTS).index(record["variant"]))


def load(data, **flags):
    return mrpc_data.load_pairs(Flags(data=data, **flags))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """One run on the sample: its folder and its record."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    with pytest.MonkeyPatch.context() as patch:
        preset = tiny.build_preset()
        patch.setattr(running.presets, "resolve_preset", lambda *_: (preset, None))
        (record,) = run(folder)
    return folder, record


# === Settings ===


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "rate", "loss", "first"),
    [
        ("baseline", 3, 8, 5e-5, 0.6390, 0.7802),
        ("learning_rate", 3, 16, 5e-5, 0.5364, 0.7369),
        ("batch_size", 3, 8, 2e-5, 0.9593, 0.1794),
        ("epochs", 5, 16, 2e-5, 1.0690, 0.0006),
        ("large", 3, 8, 2e-5, 0.5477, 0.8724),
    ],
)
def test_variants_are_the_documents(name, epochs, batch_size, rate, loss, first):
    variant = VARIANTS[name]
    settings, claims = variant.settings, {c.key: c.value for c in variant.claims}
    assert (settings.epochs, settings.batch_size) == (epochs, batch_size)
    assert settings.learning_rate == rate and settings.max_length == 512
    assert (settings.warmup, settings.weight_decay) == (500, 0.01)
    assert settings.schedule == "linear" and variant.is_documented
    assert (claims["log_loss"], claims["loss at step 10"]) == (loss, first)


def test_the_optimizer_is_the_trainers(monkeypatch, tmp_path):
    import kbert

    built = []
    adamw = kbert.adamw
    monkeypatch.setattr(
        kbert, "adamw", lambda *a, **k: built.append(adamw(*a, **k)) or built[-1]
    )
    run(tmp_path / "run", limit=40)
    (optimizer,) = built
    assert (optimizer.beta_1, optimizer.beta_2) == (0.9, 0.999)
    assert (optimizer.global_clipnorm, optimizer.weight_decay) == (1.0, 0.01)
    config = optimizer.get_config()
    assert config["epsilon"] == 1e-8 and not config["decay_all"]


def test_other_encoders_are_named_in_the_document_and_not_measured():
    presets = {name: v.preset for name, v in VARIANTS.items() if v.preset}
    assert presets == {
        "large": "bert_large_en_uncased",
        "roberta": "roberta_base_en",
        "distilbert": "distil_bert_base_en_uncased",
    }
    config = command.build_config(mrpc.EXPERIMENT)
    parsed = cli.parse(config, ["--variant", "all", "--as-documented"])
    chosen = command.choose(mrpc.EXPERIMENT, parsed)
    assert chosen == ["baseline", "learning_rate", "batch_size", "epochs", "large"]


# === Data ===


def test_the_real_pairs_come_in_the_documents_parts(shared_data):
    found = load(shared_data("mrpc"))
    sizes = {name: len(part) for name, part in found.splits.parts.items()}
    assert sizes == {"train": 3_668, "validation": 408, "test": 1_725}
    assert found.is_documented and found.splits.test.labels is None
    assert found.label_names == ("different", "paraphrase")
    assert not load(shared_data("mrpc"), limit=100).is_documented


def test_the_documents_files_are_what_pandas_writes(shared_data, tmp_path):
    """The source writes them with pandas, without header and index."""
    found = load(shared_data("mrpc")).splits
    trial = types.SimpleNamespace(
        train=found.train,
        validation=found.validation,
        files={},
        folder=report.RunFolder(tmp_path),
        material=types.SimpleNamespace(splits=dataclasses.replace(found, test=None)),
    )
    mrpc_data.write_pairs(trial, None)
    for name, part in (("train.tsv", "train"), ("dev.tsv", "validation")):
        source = shared_data("mrpc") / f"{part}.csv"
        frame = pd.read_csv(source, keep_default_na=False)
        columns = frame[["sentence1", "sentence2", "label"]]
        expected = columns.to_csv(index=False, header=False, sep="\t")
        assert (tmp_path / name).read_text("utf-8") == expected


def test_the_hubs_pairs_are_taken_where_they_can_be_had(monkeypatch):
    import datasets

    def build(label):
        rows = {"sentence1": ["a b", "c d"] * 9, "sentence2": ["e", "f"] * 9}
        names = datasets.ClassLabel(names=["not_equivalent", "equivalent"])
        text = datasets.Value("string")
        kinds = {"sentence1": text, "sentence2": text, "label": names}
        features = datasets.Features(kinds)
        return datasets.Dataset.from_dict({**rows, "label": label * 9}, features)

    hub = datasets.DatasetDict(
        train=build([0, 1]), validation=build([0, 1]), test=build([-1, -1])
    )
    asked = []
    monkeypatch.setattr(
        mrpc_data, "find_hub_dataset", lambda *names: asked.append(names) or hub
    )
    found = load(None)
    assert asked == [("nyu-mll/glue", "mrpc")] and found.notice is None
    assert found.words == "mrpc of the hub's nyu-mll/glue"
    assert len(found.splits.test) == 18


def test_the_sample_stands_in_and_has_the_real_files_quirks():
    found = load(None)
    assert "bundled sample" in found.notice and not found.is_documented
    text = "\n".join(t for part in found.splits.parts.values() for t in part.texts)
    for quirk in (" 's ", " .", '"', "$ ", '" NA "'):
        assert quirk in text, quirk
    share = found.splits.train.labels.mean()
    assert 0.6 < share < 0.7


def test_a_file_alone_gives_up_a_tenth_to_validate_with(tmp_path):
    (tmp_path / "mine.csv").write_text(PAIRS)
    found = load(tmp_path / "mine.csv")
    assert len(found.splits.validation) == 6 and found.splits.test is None
    assert mrpc_data.CUT in found.sentences


# === Runs ===


def test_a_run_leaves_its_files(small_run):
    folder, _ = small_run
    written = {path.name for path in folder.iterdir()}
    assert {"train.tsv", "dev.tsv", "MRPC.tsv", "report.html", "model.keras"} <= written
    first = (folder / "dev.tsv").read_text("utf-8").splitlines()[0].split("\t")
    assert len(first) == 3 and first[2] in "01"


def test_test_pairs_are_predicted_in_their_order_and_not_scored(small_run):
    import kbert

    folder, record = small_run
    lines = (folder / "MRPC.tsv").read_text("utf-8").splitlines()
    test = load(mrpc_data.SAMPLE).splits.test
    classes = kbert.load_model(folder / "model.keras").predict(test).argmax(axis=1)
    rows = [f"{index}\t{label}" for index, label in enumerate(classes)]
    assert lines == ["index\tprediction", *rows]
    assert record["split"] == "validation"
    written = json.loads((folder / "report.json").read_text("utf-8"))
    assert mrpc_data.NOT_SCORED in written["data"]["sentences"]


def test_documented_figures_have_a_measured_one_beside_them(small_run):
    folder, record = small_run
    written = json.loads((folder / "report.json").read_text("utf-8"))
    rows = {row["name"]: row["measured"] for row in written["documented"]}
    assert all(value is not None for value in rows.values()) and len(rows) == 6
    figures = record["figures"]
    assert rows["evaluation loss"] == pytest.approx(figures["log_loss"])
    assert rows["evaluated pairs a second"] > 0
    assert {"accuracy", "f1"} <= set(figures)


def test_the_first_loss_is_the_mean_of_the_first_ten_steps(small_run):
    """An untrained head of two classes loses about ln 2."""
    assert 0.3 < small_run[1]["figures"]["loss at step 10"] < 1.5
    trial = types.SimpleNamespace(extra={})
    callback = Trial.note_loss(trial, 10)
    for batch, loss in ((8, 0.7), (9, 0.6), (10, 0.5), (9, 0.1)):
        callback.on_train_batch_end(batch, {"loss": loss})
    assert trial.extra == {"loss at step 10": 0.6}


def spy(seen):
    """Return the experiment; what each training starts from is kept in `seen`."""

    def train(trial):
        before = trial.previous and tiny.read_weights(trial.previous)
        model = mrpc.train(trial)
        seen[trial.name] = (before, tiny.read_weights(model))
        return model

    return dataclasses.replace(mrpc.EXPERIMENT, train=train)


@pytest.mark.slow
def test_as_documented_runs_go_on_from_one_another(monkeypatch, tmp_path):
    # The report on all runs is another test's.
    monkeypatch.setattr(
        "kbert.recipes.comparison.write", lambda *_: None, raising=False
    )
    seen = {}
    records = run(
        tmp_path / "run",
        ["epochs"],
        experiment=spy(seen),
        as_documented=True,
        limit=40,
    )
    assert [r["variant"] for r in records] == ["learning_rate", "batch_size", "epochs"]
    assert seen["learning_rate"][0] is None
    tiny.assert_same_weights(seen["batch_size"][0], seen["learning_rate"][1])
    tiny.assert_same_weights(seen["epochs"][0], seen["batch_size"][1])
    assert "goes on from the trained model of batch_size" in " ".join(
        records[2]["deviations"]
    )


def test_done_right_every_run_starts_from_the_encoder(tmp_path):
    seen = {}
    (record,) = run(tmp_path / "run", ["epochs"], experiment=spy(seen), limit=40)
    assert seen["epochs"][0] is None
    deviations = " ".join(record["deviations"])
    assert "The document goes on from the model of batch_size." in deviations
    report = (tmp_path / "run" / "report.md").read_text("utf-8")
    assert ".18 and .0006" in report, "the proof is told"


# === Bad input ===


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (PAIRS.replace("sentence2", "second"), "no column 'sentence2'"),
        (PAIRS.replace(",1\n", ",yes\n").replace(",0\n", ",no\n"), "must hold 0 and 1"),
        (PAIRS + "a film,,1\n", "sentence2 of row 60 in "),
        (PAIRS + " ,a film,1\n", "sentence1 of row 60 in "),
    ],
)
def test_data_of_another_kind_is_refused(tmp_path, capsys, text, sentence):
    (tmp_path / "train.csv").write_text(text)
    assert mrpc.main(["--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_a_test_pair_with_an_empty_side_is_refused(tmp_path, capsys):
    (tmp_path / "train.csv").write_text(PAIRS)
    (tmp_path / "test.csv").write_text(
        "sentence1,sentence2\na film,the plot\na film,\n"
    )
    assert mrpc.main(["--data", str(tmp_path)]) == 2
    assert "sentence2 of row 1 in test is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--variant", "larg"], "Did you mean large?"),
        (["--variant", "tuned", "--as-documented"], "--variant tuned is none of them"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_wrong_flags_are_answered_in_a_sentence(capsys, argv, sentence):
    assert mrpc.main(argv) == 2
    assert sentence in capsys.readouterr().err
