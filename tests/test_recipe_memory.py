"""Memory measured for each batch size, in processes of their own."""

import json
import subprocess
import types

import pytest
import tiny

from kbert.recipes import memory


def answer(monkeypatch, returncode: int, stdout: str = "", stderr: str = "") -> list:
    """Let the child process answer so; return what it was ordered."""
    orders: list[str] = []

    def run(command, **options):
        orders.append(options["input"])
        return types.SimpleNamespace(
            returncode=returncode, stdout=stdout, stderr=stderr
        )

    monkeypatch.setattr(subprocess, "run", run)
    memory.measure_memory.cache_clear()
    return orders


def test_each_batch_size_is_measured_once(monkeypatch):
    found = '{"batch_size": 8, "peak_bytes": 3221225472, "num_parts": 1}\n'
    orders = answer(monkeypatch, 0, "noise\n" + found)
    needs = memory.measure_memory("some_preset", 64)
    assert [need.describe() for need in needs[:1]] == ["batch 8: 3.0 GiB"]
    assert [json.loads(order)["batch_size"] for order in orders] == [8, 16, 32]
    memory.measure_memory("some_preset", 64)
    assert len(orders) == 3, "the stages of a recipe share what was measured"


@pytest.mark.parametrize(
    "returncode, stderr",
    [(-9, ""), (1, "torch.OutOfMemoryError: CUDA out of memory."), (1, "MemoryError")],
)
def test_a_batch_that_does_not_fit_is_said_to(monkeypatch, returncode, stderr):
    answer(monkeypatch, returncode, stderr=stderr)
    (need,) = memory.measure_memory("some_preset", 64, batch_sizes=(16,))
    assert need.peak_bytes is None
    assert need.describe() == "batch 16: not enough memory"


def test_another_failure_is_told_apart(monkeypatch):
    answer(monkeypatch, 1, stderr="Traceback\nPresetError: unknown preset 'x'.")
    with pytest.raises(RuntimeError, match="batches of 8 could not .* unknown preset"):
        memory.measure_memory("x", 64)


def test_a_batch_cut_into_parts_is_said_to_be():
    need = memory.Need(batch_size=32, peak_bytes=2**30, num_parts=4)
    assert need.describe() == "batch 32 in 4 parts: 1.0 GiB"


def test_the_peak_is_the_most_that_this_process_ever_had():
    """What the parent has, torch and all, is not counted: Linux hands it down."""
    code = "from kbert.recipes.memory import read_peak; print(read_peak());"
    code += "block = b'x' * 100_000_000; del block; print(read_peak())"
    before, after = map(int, tiny.run_python(code).split())
    assert before + 90_000_000 < after < before + 150_000_000
    assert before < memory.read_peak() / 2


def test_two_steps_are_trained_on_texts_of_full_length(monkeypatch):
    import kbert

    fitted = {}
    fit = kbert.Model.fit

    def remember(model, texts, labels, **options):
        fitted["lengths"] = model.preprocessor.encode(texts).lengths
        fitted["history"] = fit(model, texts, labels, **options)

    monkeypatch.setattr(kbert.Model, "fit", remember)
    preset = tiny.build_preset()
    order = memory.Order(preset=preset, batch_size=3, max_length=11, device="cpu")
    need = memory.train_two_steps(order)
    assert fitted["lengths"].tolist() == [11] * 6
    assert fitted["history"].params["steps"] == 2
    assert need.batch_size == 3 and need.num_parts == 1
    assert 0 < need.peak_bytes <= memory.read_peak()


@pytest.mark.slow
def test_a_larger_batch_needs_more():
    memory.measure_memory.cache_clear()
    small, large = memory.measure_memory(
        "all_minilm_l6_v2_en", 64, batch_sizes=(2, 96), device="cpu"
    )
    assert small.peak_bytes < large.peak_bytes
