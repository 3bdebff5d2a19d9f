"""The documented encoders are built without their weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from kbert.presets import count_parameters
from kbert.presets.names import find_preset
from kbert.recipes import builds
from kbert.recipes.records import find_experiments

ROOT = Path(__file__).parent.parent
NAMES = (
    "bert_base_en_uncased",
    "bert_large_en_uncased",
    "distil_bert_base_en_uncased",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_shapes_are_those_of_the_presets(name):
    preset = builds.describe_preset(name)
    assert count_parameters(preset.config) == find_preset(name).parameters
    assert preset.tokenizer.vocabulary_size == preset.config.vocabulary_size


def test_every_documented_encoder_is_built_on_its_largest_batch():
    batches = {one.preset: one for one in builds.find_batches(find_experiments())}
    assert set(batches) == set(NAMES)
    large = batches["bert_large_en_uncased"]
    assert (large.batch_size, large.max_length) == (8, 512)
    base = batches["bert_base_en_uncased"]
    assert base.batch_size * base.max_length >= 8 * 512


def test_a_build_trains_saves_and_loads(monkeypatch):
    monkeypatch.setitem(builds._SHAPES, "toy", ("bert", 2, 2, 16, 32))
    batch = builds.Batch(preset="toy", batch_size=3, max_length=8, learning_rate=1e-3)
    record = builds.build(batch)
    assert len(record["losses"]) == 2 and np.isfinite(record["losses"]).all()
    assert record["losses"][1] != record["losses"][0]
    assert record["reload_difference"] < 1e-6 < record["file_bytes"]
    assert record["peak_bytes"] > record["num_parameters"] * 4


@pytest.mark.parametrize("name", NAMES)
def test_the_records_are_of_these_encoders(name):
    path = ROOT / "recipes" / "builds" / f"{name}.json"
    record = json.loads(path.read_text("utf-8"))
    assert record["num_parameters"] == find_preset(name).parameters
    assert record["reload_difference"] < 1e-3
    # Weights, gradients and the two moments of AdamW, in float32.
    assert record["peak_bytes"] > 16 * record["num_parameters"]


def test_without_a_checkout_there_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["builds"])
    assert builds.main() == 1
    assert capsys.readouterr().err.startswith("error: there is no folder recipes")
