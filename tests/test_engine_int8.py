"""Prediction in 8 bits is close to exact, says how close, and leaves no trace."""

import numpy as np
import pytest
import tiny
import torch

import kbert
from kbert.engine import int8
from kbert.engine.linear import Linear

TEXTS, LABELS = tiny.write_texts(40, seed=5)


@pytest.fixture(scope="module")
def model():
    model = tiny.build_model()
    model.fit(TEXTS, LABELS, 8, 3, 0)
    return model


@pytest.mark.parametrize("widths", [(24,), (16, 16, 16)])
def test_a_product_is_off_by_its_rounding_only(widths):
    generator = torch.Generator().manual_seed(0)
    layers = [
        (torch.randn(32, w, generator=generator), torch.randn(w, generator=generator))
        for w in widths
    ]
    x = torch.randn(50, 32, generator=generator)
    with torch.no_grad():
        exact = Linear(layers, torch.float32)(x)
        rounded = int8.Int8Linear(layers, torch.float32)(x)
    assert rounded.dtype == torch.float32 and rounded.shape == exact.shape
    error = (rounded - exact).norm() / exact.norm()
    assert 1e-4 < float(error) < 0.03


def test_predictions_are_close_and_exact_ones_come_back(model, caplog):
    exact = model.predict(TEXTS)
    rounded = model.predict(TEXTS, quantize="int8")
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, atol=0.05)
    (record,) = caplog.records
    share = 100 * np.mean(rounded.argmax(1) == exact.argmax(1))
    assert f"{share:.1f} % of the first 40 texts" in record.getMessage()
    np.testing.assert_array_equal(model.predict(TEXTS), exact)


def test_evaluation_says_what_changes(model, caplog):
    exact = model.evaluate(TEXTS, LABELS, verbose=0, return_dict=True)
    rounded = model.evaluate(
        TEXTS, LABELS, verbose=0, return_dict=True, quantize="int8"
    )
    message = caplog.records[-1].getMessage()
    assert f"accuracy {rounded['accuracy']:.4f}" in message.split(";")[0]
    assert f"loss {exact['loss']:.4f}" in message.split(";")[1]
    assert rounded["loss"] == pytest.approx(exact["loss"], abs=0.05)


def test_rounded_weights_follow_training(model):
    before = model.predict(TEXTS, quantize="int8")
    model.fit(TEXTS, 1 - LABELS, 8, 3, 0)
    after = model.predict(TEXTS, quantize="int8")
    np.testing.assert_allclose(after, model.predict(TEXTS), atol=0.01)
    assert np.abs(after - before).max() > 0.015


def test_a_generator_is_predicted_too(model):
    stream = model.predict(iter(TEXTS), quantize="int8")
    np.testing.assert_array_equal(stream, model.predict(TEXTS, quantize="int8"))


def test_training_is_not_rounded(model):
    with model.backbone.in_int8():
        outputs = model.backbone(model.preprocessor(TEXTS[:4]))["pooled_output"]
        assert outputs.requires_grad
        exact = outputs.detach()
    np.testing.assert_allclose(
        exact, model.backbone(model.preprocessor(TEXTS[:4]))["pooled_output"].detach()
    )


@pytest.mark.parametrize("value", ["int4", "INT8", 8])
def test_another_format_is_one_sentence(model, value):
    with pytest.raises(ValueError, match="quantize must be 'int8' or None; received"):
        model.predict(TEXTS, quantize=value)


def test_a_torch_without_8_bits_is_one_sentence(model, monkeypatch):
    monkeypatch.setattr("kbert.engine.backbone.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="has no 8-bit products on this CPU"):
        model.evaluate(TEXTS, LABELS, verbose=0, quantize="int8")
    assert kbert.Model is type(model)


def test_the_difference_is_said_of_arrays_streams_and_batches(model, caplog):
    arrays = {name: np.asarray(x) for name, x in model.preprocessor(TEXTS).items()}
    for x in (arrays, iter(TEXTS)):
        caplog.clear()
        model.predict(x, quantize="int8")
        assert "of the first 40 texts" in caplog.text
    caplog.clear()
    pairs = list(zip(TEXTS, LABELS.tolist(), strict=True))
    batches = torch.utils.data.DataLoader(pairs, batch_size=8)
    model.predict(batches, quantize="int8")
    assert "is not measured on what comes in batches" in caplog.text
