"""Default settings are measured against others': sides, ranks, table, one small run."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
from test_benchmarks import QUICK, run_quick

from benchmarks import records, tables
from benchmarks.defaults import SETS, measure_held_out, rank
from benchmarks.defaults_sides import SIDES, Material, Training, build_optimizer
from benchmarks.encoders import load_encoder
from benchmarks.workloads import SOURCES, Workload, load_parts
from kbert.callbacks import Progress
from kbert.data import load_splits
from kbert.recipes import amazon, imdb, mrpc, spam, strategies, tweets
from kbert.runs import training
from kbert.runs.best_epoch import KeepBest
from kbert.runs.defaults import choose_settings
from kbert.runs.plan import Plan
from kbert.tasks import Request, find_task

LENGTHS = np.arange(1, 101)


def build_material(name: str = "tweets") -> Material:
    texts = ["a text"] * 200
    workload = Workload(
        name, texts, None, np.arange(200) % 2, 2, 45, None, "made up", False
    )
    rows = np.arange(200)
    parts = (rows[:100], rows[100:120], rows[120:])
    return Material(workload, load_encoder("tiny-random"), *parts, LENGTHS, 64)


def choose(side: str, name: str = "tweets") -> Training:
    return SIDES[side](build_material(name))


def test_equal_values_share_the_mean_of_their_ranks():
    assert rank([0.7, 0.9, 0.8]) == [3, 1, 2]
    assert rank([0.8, 0.9, 0.8, 0.7]) == [2.5, 1, 2.5, 4]
    assert rank([0.5, 0.5, 0.5]) == [2, 2, 2]
    assert rank([0.1 + 0.2, 0.3]) == [1.5, 1.5]  # means that differ by rounding


def test_held_out_rows_are_measured_by_accuracy_and_by_f1_of_all_classes():
    labels = np.array([0, 0, 0, 1])
    always_0 = np.tile([0.9, 0.1], (4, 1))
    found = measure_held_out(labels, always_0)
    assert found["accuracy"] == 0.75
    assert found["f1_macro"] == pytest.approx((2 * 0.75 / 1.75) / 2)


# === Sides ===


def test_kbert_trains_with_its_own_rules():
    material = build_material()
    chosen = choose_settings(100, material.preset.config, LENGTHS)
    training = choose("kbert")
    for name in ("learning_rate", "batch_size", "epochs", "patience", "warmup"):
        assert getattr(training, name) == getattr(chosen, name)
    assert (training.weight_decay, training.dropout) == (
        chosen.weight_decay,
        chosen.dropout,
    )
    assert chosen.max_length == 99 and training.max_length == 64


def test_kbert_steps_and_stops_as_its_train_does(monkeypatch):
    material = build_material()
    texts, labels = tiny.write_texts(100)
    chosen = choose_settings(100, material.preset.config, LENGTHS)
    request = Request(source=(texts, labels), validation=0.2)
    plan = Plan(
        task=find_task("classify"), request=request, preset=tiny.build_preset(),
        splits=load_splits((texts, labels), validation=0.2), frozen=None,
        settings=replace(chosen, max_length=16), class_weight=None,
        precision="float32", findings=(), notices=(), long_text=None, slices=(),
        windows={},
    )  # fmt: skip
    model = training.build_model(plan)
    training_of_ours = choose("kbert")
    ours = build_optimizer(training_of_ours, len(plan.splits.train))
    given = {}
    monkeypatch.setattr(
        type(model), "fit", lambda _, *args, **kwargs: given.update(kwargs)
    )
    training.fit(plan, model, Progress(num_texts=len(texts)))
    assert model.optimizer.get_config() == ours.get_config()
    (best,) = [one for one in given["callbacks"] if isinstance(one, KeepBest)]
    assert best._task.name == training_of_ours.keep
    assert best._patience == training_of_ours.patience
    assert given["epochs"] == training_of_ours.epochs


@pytest.mark.parametrize(
    ("name", "module", "variant"),
    [
        ("tweets", tweets, "fixed"),
        ("spam", spam, "full"),
        ("mrpc", mrpc, "baseline"),
        ("sst2", strategies, "final"),
        ("amazon", amazon, "documented"),
        ("imdb", imdb, "initial"),
    ],
)
def test_documented_settings_are_the_nearest_recipes(name, module, variant):
    settings = module.EXPERIMENT.variants[variant].settings
    training = choose("documented", name)
    for field in ("learning_rate", "batch_size", "epochs", "accumulate", "schedule"):
        assert getattr(training, field) == getattr(settings, field), field
    assert (training.weight_decay, training.dropout, training.patience) == (
        settings.weight_decay,
        settings.dropout,
        settings.patience,
    )
    assert 0 <= training.warmup < 1
    # A variant that reads the pooler, or starts from another, could not stand alone.
    own = module.EXPERIMENT.default
    assert variant == own or (name, own) == ("spam", "frozen")


def test_others_train_with_their_own_defaults():
    autogluon, trainer = choose("autogluon"), choose("trainer")
    assert autogluon.batch_size * autogluon.accumulate == 128
    assert (autogluon.learning_rate, autogluon.layer_decay) == (1e-4, 0.9)
    assert (autogluon.schedule, autogluon.warmup) == ("cosine", 0.1)
    assert autogluon.weight_decay == 1e-3 and autogluon.keep == "val_accuracy"
    assert (trainer.learning_rate, trainer.epochs, trainer.batch_size) == (5e-5, 3, 8)
    assert (trainer.schedule, trainer.weight_decay, trainer.keep) == ("linear", 0, None)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", SETS)
def test_no_side_reads_more_than_the_others(side, name):
    assert choose(side, name).max_length <= 64


@pytest.mark.parametrize("name", SETS)
def test_rows_to_measure_on_are_not_those_to_train_on(name, shared_data):
    shared_data(SOURCES[name].file.split("/")[0])
    workload, rows, held_out = load_parts(name, held_out=SETS[name].held_out)
    assert workload.is_real and not set(rows) & set(held_out)
    assert len(rows) >= 1000 * SETS[name].rows and len(held_out) >= 800


# === Runs ===


@pytest.mark.slow
def test_small_run_ranks_all_sides_and_goes_on_where_it_stopped(tmp_path):
    results, path = tmp_path / "results", tmp_path / "progress.jsonl"
    first = f"defaults --sets tweets mrpc --progress {path} {QUICK}"
    second = f"defaults --sets tweets mrpc --seeds 2 --progress {path} {QUICK}"
    outputs = run_quick([first, second], results)
    assert outputs[first].count(" s, new") == 8
    assert outputs[second].count(" s, taken from the progress file") == 8
    assert outputs[second].count(" s, new") == 8
    result = json.loads(outputs[second].splitlines()[-1])
    assert set(result["mean_ranks"]) == set(SIDES)
    assert sum(result["mean_ranks"].values()) == pytest.approx(10)
    assert all(result["mean_ranks"][side] <= 2.5 for side in result["best"])
    for found in result["sets"].values():
        assert all(len(one["values"]) == 2 for one in found["sides"].values())
    written = records.read_records(results)
    assert all(set(records.REQUIRED) <= set(record) for record in written)
    assert "| **mean rank** |" in tables.render_defaults(written)


# === Table ===


def build_record(ranks: dict[str, float], best: list[str]) -> dict:
    sides = {
        side: {"mean": 0.8125, "sd": None, "rank": value}
        for side, value in ranks.items()
    }
    sets = {"spam": {"metric": "f1_macro", "sides": sides, "rows": {"train": 1700}}}
    result = {
        "sets": sets, "mean_ranks": ranks, "best": best, "preset": "p", "seeds": [0],
        "max_length": 128,
    }  # fmt: skip
    return {"benchmark": "defaults", "result": result, "device": "a CPU"}


def test_table_says_who_is_best():
    record = build_record({"kbert": 1.5, "trainer": 1.5}, ["kbert", "trainer"])
    text = tables.render_defaults([record])
    lines = text.splitlines()
    assert lines[0] == "| set, metric | rows to train on | kbert | trainer |"
    assert lines[2] == "| spam, f1 macro | 1,700 | .812 (1.5) | .812 (1.5) |"
    assert lines[3] == "| **mean rank** |  | 1.50 | 1.50 |"
    assert "share the best mean rank with trainer" in text
    record = build_record({"kbert": 2, "trainer": 1}, ["trainer"])
    assert "do not have the best mean rank; trainer has" in tables.render_defaults(
        [record]
    )
    record["result"]["best"] = ["kbert"]
    assert "kbert's rules have the best mean rank." in tables.render_defaults([record])
    assert "No records" in tables.render_defaults([])
