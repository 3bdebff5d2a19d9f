"""Two sides are compared by whole trainings, also where bfloat16 must be emulated."""

import json

import numpy as np
import pytest
import torch
from test_benchmarks import QUICK, run_quick
from torch.nn import functional

from benchmarks import tables
from benchmarks.emulation import EmulatedProducts
from benchmarks.progress import Progress
from benchmarks.verdicts import (
    METRICS,
    compare_seeds,
    judge,
    measure_majority,
    measure_quality,
)
from benchmarks.workloads import SAMPLES, load_parts
from kbert.data import load_split


def draw(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).bfloat16()


def matrices(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return draw(*shape, 5, 64), draw(*shape, 64, 7)


def multiply_into_out(a, b):
    return torch.mm(a, b, out=torch.empty(0, dtype=a.dtype))


def batch_into_out(a, b):
    return torch.bmm(a, b, out=torch.empty(a.shape[0], 5, 7, dtype=a.dtype))


PRODUCTS = {
    "mm": (torch.mm, matrices()),
    "matmul of four axes": (torch.matmul, matrices(2, 3)),
    "bmm": (torch.bmm, matrices(3)),
    "addmm": (torch.addmm, (draw(7), *matrices())),
    "addmm, scaled": (
        lambda *x: torch.addmm(*x, beta=0.5, alpha=2),
        (draw(7), *matrices()),
    ),
    "baddbmm": (torch.baddbmm, (draw(3, 5, 7), *matrices(3))),
    "linear": (functional.linear, (draw(5, 64), draw(7, 64), draw(7))),
    "einsum": (lambda a, b: torch.einsum("bij,bjk->bik", a, b), matrices(3)),
    "mm, out": (multiply_into_out, matrices()),
    "bmm, out": (batch_into_out, matrices(3)),
    "addmm in place": (
        lambda x, a, b: x.clone().addmm_(a, b),
        (draw(5, 7),) + matrices(),
    ),
    "attention": (functional.scaled_dot_product_attention, (draw(2, 2, 5, 8),) * 3),
    "attention, masked": (
        functional.scaled_dot_product_attention,
        (draw(2, 2, 5, 8),) * 3 + (draw(2, 1, 1, 5),),
    ),
}


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", PRODUCTS)
def test_emulated_products_are_float32_ones_rounded_once(name, context):
    function, operands = PRODUCTS[name]
    expected = function(*(one.float() for one in operands)).bfloat16()
    with context(), EmulatedProducts() as products:
        found = function(*operands)
    assert products.count == 1
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_emulated_products_have_emulated_gradients():
    x, kernel = matrices()
    expected = [(x.float() @ kernel.float()).bfloat16()]
    ones = torch.ones(5, 7)
    expected += [(ones @ kernel.float().T).bfloat16(), (x.float().T @ ones).bfloat16()]
    x.requires_grad_()
    kernel.requires_grad_()
    with EmulatedProducts() as products:
        found = x @ kernel
        found.backward(ones.bfloat16())
    assert products.count == 3
    for one, other in zip((found, x.grad, kernel.grad), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_other_formats_and_functions_are_left_alone():
    x, kernel = (one.float() for one in matrices())
    with EmulatedProducts() as products:
        found = x @ kernel
        draw(3) + draw(3)
        with pytest.raises(RuntimeError, match="dtype"):
            x @ kernel.bfloat16()
    assert products.count == 0
    assert torch.equal(found, x @ kernel)


def test_difference_is_measured_in_pooled_deviations():
    found = compare_seeds([0.80, 0.82, 0.84], [0.79, 0.81, 0.83])
    assert found["mean"] == pytest.approx([0.82, 0.81])
    assert found["sd"] == pytest.approx([0.02, 0.02])
    assert found["pooled_sd"] == pytest.approx(0.02)
    assert found["difference"] == pytest.approx(0.01)
    assert found["within_one_sd"] is True
    assert compare_seeds([0.8, 0.82], [0.9, 0.92])["within_one_sd"] is False


def test_one_seed_has_no_verdict_and_equal_values_have_one():
    assert compare_seeds([0.8], [0.8])["within_one_sd"] is None
    assert compare_seeds([0.8], [0.8])["sd"] == [None, None]
    assert compare_seeds([0.8, 0.8], [0.8, 0.8])["within_one_sd"] is True


def test_sides_that_only_name_the_majority_class_have_no_verdict():
    labels = np.array([0, 1, 1, 1])
    assert measure_majority(labels) == 0.75
    assert judge([True, True], [0.75, 0.75], 0.75) == (False, None)
    assert judge([True, True], [0.80, 0.75], 0.75) == (True, True)
    assert judge([True, False], [0.9, 0.8], 0.75) == (True, False)
    assert judge([None, None], [0.9, 0.8], 0.75) == (True, None)


def test_f1_is_of_the_second_of_two_classes():
    labels = np.array([0, 1, 1, 1])
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    found = measure_quality(labels, probabilities)
    assert tuple(found) == METRICS
    assert found["accuracy"] == 0.5
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(-np.log([0.4, 0.9, 0.8, 0.3]).mean())


def test_mrpc_is_parted_as_published(shared_data):
    shared_data("mrpc")
    workload, train, held_out = load_parts("mrpc")
    assert (len(train), len(held_out), len(workload)) == (3668, 408, 4076)
    assert (workload.labels[train].sum(), workload.labels[held_out].sum()) == (
        2474,
        279,
    )
    assert len(workload.text_pairs) == len(workload.labels) == 4076


def test_tweets_are_parted_at_random_and_always_alike(shared_data):
    shared_data("tweets")
    workload, train, held_out = load_parts("tweets")
    assert not set(train) & set(held_out)
    assert len(held_out) == len(workload) // 5
    again, fewer, few = load_parts("tweets", limit=10)
    assert again.texts == workload.texts
    assert (list(fewer), list(few)) == (list(train[:10]), list(held_out[:10]))


@pytest.mark.parametrize("name", ["tweets", "mrpc"])
def test_without_their_file_parts_are_tweets_of_the_sample_taken_once(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("KBERT_TEST_DATA", str(tmp_path))
    workload, train, held_out = load_parts(name)
    assert not workload.is_real
    assert "bundled sample" in workload.data
    sample = load_split(SAMPLES / "tweets/train.csv", text="text", label="target")
    assert sorted(workload.texts) == sorted(sample.texts)
    assert workload.labels.sum() == sample.labels.sum()
    assert len(train) + len(held_out) == len(workload)
    assert (workload.text_pairs is not None) == (name == "mrpc")


def test_progress_keeps_finished_runs_by_all_they_depend_on(tmp_path):
    path = tmp_path / "new folder" / "progress.jsonl"
    progress = Progress(path)
    progress.add({"seed": 0, "side": "kbert"}, {"loss": 0.5})
    with open(path, "a") as file:
        file.write('{"key": {"seed": 1')  # the process ended here
    progress = Progress(path)
    assert progress.find({"side": "kbert", "seed": 0}) == {"loss": 0.5}
    assert progress.find({"side": "kbert", "seed": 1}) is None
    progress.add({"side": "kbert", "seed": 1}, {"loss": 0.4})
    assert Progress(path).find({"side": "kbert", "seed": 1}) == {"loss": 0.4}


def test_without_a_file_nothing_is_kept(tmp_path):
    Progress(None).add({"seed": 0}, {})
    assert Progress(None).find({"seed": 0}) is None
    assert Progress(tmp_path / "absent").find({"seed": 0}) is None


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "progress.jsonl"
    results = tmp_path / "results"
    first = f"quality --seeds 1 --progress {path} {QUICK}"
    second = f"quality --seeds 2 --progress {path} {QUICK}"
    outputs = run_quick([first, second], results)
    assert outputs[first].count(" s, new") == 2
    assert outputs[second].count("taken from the progress file") == 2
    assert outputs[second].count(" s, new") == 2
    one, two = (json.loads(outputs[one].splitlines()[-1]) for one in (first, second))
    for metric in METRICS:
        for side in one["sides"]:
            values = [
                result["metrics"][metric][side]["values"] for result in (one, two)
            ]
            assert values[0] == values[1][:1]


def test_table_has_one_line_a_quality_record():
    found = compare_seeds([0.80, 0.82], [0.79, 0.81])
    sides = {
        name: {"mean": mean, "sd": sd}
        for name, mean, sd in zip("ab", found["mean"], found["sd"], strict=True)
    }
    result = {
        "workload": "tweets", "against": "trainer", "preset": "p", "sides": ["a", "b"],
        "metrics": {"accuracy": {"within_one_sd": True} | sides}, "is_emulated": False,
        "has_learned": True, "real_texts": True, "limit": None, "rows": {"train": 6090},
    }  # fmt: skip
    line = tables._render_quality(result)
    assert line == (
        "| quality: tweets, p | trainer | accuracy .810 ± .014 against .800 ± .014, "
        "within 1 sd |"
    )
    result |= {"is_emulated": True, "real_texts": False, "limit": 6090}
    line = tables._render_quality(result)
    assert line.startswith("| quality: tweets* (6,090 rows), p |")
    assert line.endswith("; bfloat16 products emulated |")
    line = tables._render_quality(result | {"has_learned": False})
    assert "; no better than without training" in line
