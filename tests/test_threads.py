"""`predict` in several threads at once gives what it gives in one."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch

import kbert
from kbert.engine.precision import fast_float32_products

NUM_THREADS = 8
TEXTS = tiny.write_texts(60, seed=4)[0]


def run_at_once(function):
    """Call a function in eight threads that start together."""
    barrier = threading.Barrier(NUM_THREADS)

    def start(index):
        barrier.wait()
        return [function(index) for _ in range(4)]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return [one for found in pool.map(start, range(NUM_THREADS)) for one in found]


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_eight_threads_predict_what_one_does(pooling):
    model = tiny.build_model(pooling=pooling, compile=False)
    expected = model.predict(TEXTS)
    for found in run_at_once(lambda _: model.predict(TEXTS)):
        np.testing.assert_array_equal(found, expected)


def test_a_models_first_predictions_may_be_in_threads(tmp_path):
    expected = tiny.build_model().predict(TEXTS)
    tiny.build_model().save(tmp_path / "model.keras")
    for _ in range(2):
        model = kbert.load_model(tmp_path / "model.keras")
        for found in run_at_once(lambda _, model=model: model.predict(TEXTS)):
            np.testing.assert_array_equal(found, expected)


def test_threads_may_have_texts_of_their_own():
    model = tiny.build_model(compile=False)
    parts = [TEXTS[index :: index + 1] for index in range(NUM_THREADS)]
    expected = [model.predict(part) for part in parts]

    def compare(index):
        return np.array_equal(model.predict(parts[index]), expected[index])

    assert all(run_at_once(compare))


def test_a_thread_in_int8_leaves_the_others_exact():
    model = tiny.build_model(compile=False)
    expected = model.predict(TEXTS)
    with model.backbone.in_int8():
        rounded = model.predict(TEXTS)
    assert np.any(rounded != expected)

    def predict(index):
        if index % 2:
            return model.predict(TEXTS), expected
        with model.backbone.in_int8():
            return model.predict(TEXTS), rounded

    for found, right in run_at_once(predict):
        np.testing.assert_array_equal(found, right)


def test_threads_leave_torchs_setting_as_it_was():
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(settings, "fp32_precision"):
        pytest.skip("this torch has no such setting")
    before, seen = settings.fp32_precision, []

    def enter(_):
        with fast_float32_products():
            seen.append(settings.fp32_precision)

    run_at_once(enter)
    assert set(seen) == {"bf16"} and settings.fp32_precision == before
