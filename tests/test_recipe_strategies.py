"""The strategies recipe: its studies, what they freeze, what they read and write."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import build_preset, read_weights, write_texts

import kbert
from kbert import cli
from kbert.recipes import (
    command,
    comparison,
    outcome,
    running,
    strategies,
    strategies_data,
)
from kbert.recipes.experiment import Material
from kbert.recipes.flags import Flags
from kbert.recipes.strategies import EXPERIMENT, VARIANTS
from kbert.recipes.trial import Trial

LAYERS = "transformer_layer"


def build_trial(name: str, *, layers: int = 2, options: dict | None = None, **changes):
    """Return a trial of the recipe with a tiny encoder and forty short texts."""
    flags = Flags(**{"max_length": 16, "epochs": 1, "precision": "float32"} | changes)
    texts, labels = write_texts(40)
    splits = kbert.load_splits((texts, labels), validation=0.25, test=0.25)
    return Trial(
        experiment=EXPERIMENT,
        name=name,
        flags=flags,
        options=command.NoOptions(),
        material=Material(splits=splits, words="forty texts"),
        preset=build_preset(num_layers=layers),
        seed=flags.seed,
        folder=SimpleNamespace(path=Path("nowhere")),
        **(options or {}),
    )


def find_changed(trial) -> set[str]:
    """Train, and name the weights that are not as in a trial that trains none."""
    model = strategies.train(trial)
    if trial.previous is None:
        kbert.set_seed(trial.seed)
        start = kbert.build_classifier(
            trial.preset, trial.label_names, max_length=16, precision="float32"
        )
        before = read_weights(start)
    pairs = zip(model.weights, before, strict=True)
    return {w.path for w, old in pairs if not np.array_equal(np.array(w), old)}


def load(data, **changes):
    return strategies_data.load_reviews(Flags(data=data, **changes))


# === Settings ===


def test_documented_settings_are_the_defaults():
    config = cli.parse(command.build_config(EXPERIMENT), [])
    assert command.choose(EXPERIMENT, config) == ["final"]
    final = VARIANTS["final"].settings.override(config.flags)
    assert (final.epochs, final.batch_size, final.learning_rate) == (3, 16, 2e-5)
    assert (final.max_length, final.weight_decay, final.schedule) == (256, 0.01, None)
    assert (final.rows, final.validation_rows, final.dropout) == (1_000, 300, 0.1)


def test_each_study_changes_what_it_is_about():
    study, full = strategies.STUDY, VARIANTS["full"].settings
    assert study.epochs == 2
    assert (full.epochs, full.rows, full.validation_rows) == (3, None, None)
    wanted = {
        "freeze_10": ["frozen is 10 (documented: None)"],
        "batch_8": ["batch size is 8 (documented: 16)"],
        "batch_16": [],
        "rate_2e-6_1e-4": [
            "learning rate is 2e-06 (documented: 2e-05)",
            "head learning rate is 0.0001 (documented: None)",
        ],
        "small_data": [
            "epochs is 3 (documented: 2)",
            "dropout is 0.4 (documented: 0.1)",
            "rows is 300 (documented: 1000)",
        ],
        "early_stopping": [
            "epochs is 10 (documented: 2)",
            "dropout is 0.3 (documented: 0.1)",
            "patience is 2 (documented: None)",
        ],
    }
    for name, differences in wanted.items():
        assert VARIANTS[name].settings.differences(study) == differences


@pytest.mark.parametrize(
    ("study", "names"),
    [
        ("freezing", ["freeze_0", "freeze_6", "freeze_10", "freeze_12"]),
        ("batch_size", ["batch_8", "batch_16", "batch_32"]),
        ("small_data", ["small_data"]),
        ("staged", ["staged_head", "staged_all"]),
        ("all", list(VARIANTS)),
    ],
)
def test_a_study_names_its_runs(study, names):
    config = cli.parse(command.build_config(EXPERIMENT), ["--study", study])
    assert command.choose(EXPERIMENT, config) == names


def test_the_documents_figures_are_all_claimed():
    claims = {
        name: {claim.key: claim.value for claim in variant.claims}
        for name, variant in VARIANTS.items()
    }
    assert claims["freeze_12"] == {
        "log_loss": 0.6432, "precision": 0.6667, "recall": 0.8442, "f1": 0.7450
    }  # fmt: skip
    assert claims["full"]["loss.3"] == 0.1070 and claims["full"]["accuracy"] == 0.9152
    assert claims["early_stopping"]["val_f1.3"] == 0.8803
    assert claims["early_stopping"]["val_loss.4"] == 0.5336
    assert claims["final"]["example probability"] == 0.9945
    assert sum(map(len, claims.values())) == 13 + 11 * 4 + 4 + 17 + 6


# === What trains ===


@pytest.mark.parametrize(
    ("name", "layers", "frozen"),
    [("freeze_6", 12, 6), ("freeze_10", 12, 10), ("freeze_12", 12, 12),
     ("freeze_6", 6, 3), ("freeze_10", 6, 5), ("freeze_12", 6, 6),
     ("freeze_0", 6, 0), ("freeze_6", 24, 12)],
)  # fmt: skip
def test_as_large_a_share_of_the_layers_is_frozen(name, layers, frozen):
    trial = build_trial(name, layers=layers)
    assert trial.settings.frozen == frozen
    said = [line for line in trial.find_deviations("float32") if "frozen" in line]
    documented = VARIANTS[name].settings.frozen
    assert said == (
        [] if frozen == documented else
        [f"Of {layers} layers {frozen} are frozen; the document freezes {documented} "
         "of 12."]
    )  # fmt: skip


def test_the_comparison_says_how_many_layers_are_frozen():
    record = {
        "variant": "freeze_6", "preset": {"name": EXPERIMENT.preset}, "changed": [],
        "as_documented": True, "data": {"is_documented": True}, "command": "python",
        "device": {"kind": "cpu"}, "settings": {"frozen": 3},
    }  # fmt: skip
    row = comparison.Row(EXPERIMENT, [record])
    assert row.find_differences() == ["3 frozen layers in place of 6"]
    record["settings"] = {"frozen": 6}
    assert row.find_differences() == []


def test_freezing_spares_embeddings_and_pooler():
    changed = find_changed(build_trial("freeze_12"))
    assert not [path for path in changed if LAYERS in path]
    for part in ("token_embedding", "pooled_dense", "probabilities"):
        assert any(part in path for path in changed), part


def test_half_of_the_layers_train_when_half_are_frozen():
    changed = find_changed(build_trial("freeze_6"))
    layers = {path.split("/")[0] for path in changed if LAYERS in path}
    assert layers == {f"{LAYERS}_1"}


def test_staged_training_trains_the_head_and_then_everything():
    first = build_trial("staged_head")
    changed = find_changed(first)
    assert changed and all(path.startswith("probabilities/") for path in changed)
    head = strategies.train(first)
    before = read_weights(head)
    second = build_trial("staged_all", options={"previous": head})
    model = strategies.train(second)
    pairs = list(zip(read_weights(model), before, strict=True))
    moved = [not np.array_equal(new, old) for new, old in pairs]
    assert sum(moved) > len(moved) * 0.9


def test_the_head_learns_at_its_own_rate():
    optimizer = strategies.train(build_trial("rate_1e-5_1e-4")).optimizer
    assert float(optimizer.learning_rate) == pytest.approx(1e-5)
    assert optimizer.head_multiplier == pytest.approx(10)


def test_rows_are_the_first_of_their_parts():
    trial = build_trial("final")
    trial.settings = replace(trial.settings, rows=7, validation_rows=5)
    parts = trial.material.splits.parts
    assert trial.train.texts == parts["train"].texts[:7]
    assert trial.validation.texts == parts["validation"].texts[:5]
    assert trial.measured_rows.texts == parts["test"].texts[:5]
    sizes = {name: len(part) for name, part in trial.labelled_parts.items()}
    assert sizes == {"train": 7, "validation": 5, "test": 5}


def test_early_stopping_stops_keeps_the_best_epoch_and_scores_each(monkeypatch):
    losses = iter((0.5, 0.4, 0.6, 0.7, 0.1))
    trial = build_trial("early_stopping", epochs=10)
    fake = kbert.Model.evaluate

    def evaluate(self, *args, **kwargs):
        found = fake(self, *args, **kwargs)
        return found | {"loss": next(losses)} if isinstance(found, dict) else found

    monkeypatch.setattr(kbert.Model, "evaluate", evaluate)
    model = strategies.train(trial)
    strategies.predict_example(trial, model)
    epochs = trial.progress.epochs
    assert [epoch["val_loss"] for epoch in epochs] == [0.5, 0.4, 0.6, 0.7]
    assert trial.extra["epochs run"] == 4 and trial.find_kept_epoch() == 2
    figures = outcome.flatten({"per_class": []}, trial)
    assert {claim.key for claim in trial.variant.claims} <= figures.keys()
    found = kbert.evaluation.compute_metrics(
        trial.validation.labels, model.predict(trial.validation), "01"
    )
    for name in ("precision", "recall", "f1"):
        assert epochs[1][f"val_{name}"] == pytest.approx(found[name]["value"])


# === What is read ===


def test_the_real_reviews_are_cut_as_documented(shared_data):
    found = load(shared_data("imdb"))
    sizes = {name: len(part) for name, part in found.splits.parts.items()}
    assert sizes == {"train": 20_000, "validation": 2_500, "test": 2_500}
    rows = np.concatenate([part.rows for part in found.splits.parts.values()])
    assert len(set(rows.tolist())) == 25_000
    assert found.is_documented and not found.sentences
    assert 0.4 < found.splits.train[:1_000].labels.mean() < 0.6, "shuffled"


def test_the_overlap_is_repeated_as_documented(shared_data):
    found = load(shared_data("imdb"), as_documented=True)
    sizes = {name: len(part) for name, part in found.splits.parts.items()}
    assert sizes == {"train": 20_000, "validation": 2_500, "test": 2_500}
    train, validation, test = (
        set(part.rows.tolist()) for part in found.splits.parts.values()
    )
    shared = len(validation & test)
    assert 1_150 < shared < 1_350, "half of the rows, by chance"
    assert not train & (validation | test)
    assert f"{shared:,} rows are in both" in found.sentences[0]


def test_only_the_test_rows_are_others_with_the_overlap():
    """So a study that measures validation rows is the same either way."""
    sample = strategies_data.SAMPLE
    one, other = load(sample), load(sample, as_documented=True)
    for name in ("train", "validation"):
        part, same = one.splits.parts[name], other.splits.parts[name]
        assert part.texts == same.texts
        np.testing.assert_array_equal(part.labels, same.labels)
    assert one.splits.test.texts != other.splits.test.texts
    assert other.splits.test.label_names == one.splits.test.label_names


def test_the_sample_stands_in_where_the_hub_is_out_of_reach(monkeypatch):
    monkeypatch.setattr(strategies_data, "find_hub_dataset", lambda name: None)
    found = load(None)
    assert "bundled sample" in found.notice and not found.is_documented
    assert set(found.splits.train.labels) == {0, 1}


def test_the_hubs_training_reviews_are_used_where_they_are(monkeypatch):
    import pandas as pd

    texts, labels = write_texts(40)
    names = np.array(["neg", "pos"])[labels]
    hub = {"train": pd.DataFrame({"text": texts, "label": names}), "test": None}
    monkeypatch.setattr(strategies_data, "find_hub_dataset", lambda name: hub)
    found = load(None)
    assert found.notice is None and found.words == "the hub's stanfordnlp/imdb"
    assert found.label_names == ("negative", "positive")
    assert len(found.splits.train) == 32


@pytest.mark.parametrize(
    ("header", "label", "sentence"),
    [("text,label", "stars", "column 'label' of .* must hold 0 .negative. and 1"),
     ("review,label", "0", "no column 'text'")],
)  # fmt: skip
def test_files_of_another_kind_are_refused(header, label, sentence, tmp_path, capsys):
    lines = [f"a film of the {i}th kind,{label if i % 2 else 1}" for i in range(40)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([header, *lines]), "utf-8")
    with pytest.raises(ValueError, match=sentence):
        load(path)
    argv = ["--data", str(path), "--preset", "all_minilm_l6_v2_en"]
    assert strategies.main([*argv, "--out", str(tmp_path / "out")]) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# === What is written ===


def run_tiny(monkeypatch, out, *argv):
    monkeypatch.setattr(
        running.presets, "resolve_preset", lambda *_: (build_preset(), None)
    )
    # Reports have tests of their own, and drawing them takes most of a tiny run.
    monkeypatch.setattr(outcome.report, "write_report", lambda *_: None)
    argv += ("--data", str(strategies_data.SAMPLE), "--out", str(out))
    argv += ("--limit", "80", "--max-length", "20", "--epochs", "1")
    assert strategies.main(argv) == 0
    return json.loads((out / "record.json").read_text("utf-8"))


def test_the_final_run_measures_rows_that_nothing_was_chosen_with(
    monkeypatch, tmp_path, capsys
):
    record = run_tiny(monkeypatch, tmp_path / "out")
    assert record["split"] == "test" and record["data"]["rows"]["test"] == 8
    assert any("nothing was chosen with" in line for line in record["deviations"])
    assert {claim.key for claim in VARIANTS["final"].claims} <= record["figures"].keys()
    probability = record["figures"]["example probability"]
    assert 0 < probability < 1
    assert record["figures"]["example class"] == int(probability > 0.5)
    assert "genuinely moving film" in capsys.readouterr().out
    model = kbert.load_model(tmp_path / "out" / "model.keras")
    found = model.predict([strategies.EXAMPLES["final"]])[0, 1]
    assert probability == pytest.approx(float(found), abs=1e-6)


def test_as_documented_the_final_run_measures_the_studies_rows(monkeypatch, tmp_path):
    record = run_tiny(monkeypatch, tmp_path / "out", "--as-documented")
    assert record["split"] == "validation"
    assert not any("nothing was chosen with" in line for line in record["deviations"])
