"""Too little memory for a batch splits it, and trains the same weights."""

import keras
import numpy as np
import pytest
import torch
from engine_cases import build_backbone, build_batch

import kbert
from kbert.engine.losses import start_from_logits
from kbert.engine.recovery import MemoryRecovery, can_split

NUM_ROWS = 13  # does not divide into equal parts
LENGTHS = np.random.default_rng(3).integers(2, 9, NUM_ROWS).tolist()
INPUTS = build_batch("bert", LENGTHS)
IDS = (np.arange(NUM_ROWS) % 3).astype("int32")
WEIGHTS = np.linspace(0.5, 2, NUM_ROWS).astype("float32")


def build_model(**options):
    backbone = build_backbone(dropout=0.0)
    pooled = backbone(backbone.input)["pooled_output"]
    head = keras.layers.Dense(3, "softmax", name="head", kernel_initializer="zeros")
    model = kbert.Model(backbone.input, head(pooled))
    loss = options.pop("loss", "sparse_categorical_crossentropy")
    optimizer = options.pop("optimizer", None) or kbert.adamw(1e-3)
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def run_out_of_memory(model, most_rows):
    """Let the model's device hold no more than so many rows at once; count calls."""
    calls, real = [], model._predict_for_training

    def predict(x):
        num_rows = len(x["token_ids"])
        calls.append(num_rows)
        if num_rows > most_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return real(x)

    model._predict_for_training = predict
    return calls


def train(model, **options):
    arguments = {"batch_size": NUM_ROWS, "shuffle": False, "verbose": 0, "epochs": 3}
    return model.fit(INPUTS, IDS, **(arguments | options)).history


@pytest.mark.slow
@pytest.mark.parametrize("most_rows", [12, 6, 1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("make", [kbert.adamw, keras.optimizers.Adagrad])
@pytest.mark.filterwarnings("ignore")
def test_a_batch_in_parts_trains_what_a_whole_one_does(most_rows, weights, make):
    whole, split = (build_model(optimizer=make(1e-3)) for _ in range(2))
    calls = run_out_of_memory(split, most_rows)
    expected = train(whole, sample_weight=weights)
    found = train(split, sample_weight=weights)
    assert NUM_ROWS in calls and min(calls) <= most_rows
    for one, two in zip(split.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    np.testing.assert_allclose(found["loss"], expected["loss"], atol=1e-5)
    np.testing.assert_allclose(found["accuracy"], expected["accuracy"], atol=1e-6)


def test_one_line_says_so_and_later_batches_start_in_parts(caplog):
    model = build_model()
    calls = run_out_of_memory(model, 7)
    train(model, epochs=3)
    assert calls == [13, 7, 6, 7, 6, 7, 6]
    (record,) = [one for one in caplog.records if "memory" in one.getMessage()]
    assert "13 rows" in record.getMessage() and "2 parts" in record.getMessage()


def test_a_row_that_alone_needs_too_much_is_an_error_and_changes_nothing():
    model = build_model()
    run_out_of_memory(model, 0)
    before = [np.array(weight) for weight in model.get_weights()]
    with pytest.raises(torch.OutOfMemoryError):
        train(model)
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_loss_that_is_no_mean_is_not_split():
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    model = build_model(loss=loss)
    calls = run_out_of_memory(model, 7)
    with pytest.raises(torch.OutOfMemoryError):
        train(model)
    assert calls == [NUM_ROWS]
    assert not can_split(model.loss) and can_split("mse")
    ignoring = keras.losses.SparseCategoricalCrossentropy(ignore_class=1)
    assert not can_split(start_from_logits(ignoring))


def test_a_mean_by_weights_is_split_by_them():
    """The words of a batch's parts are not as many as their rows are."""
    loss = keras.losses.SparseCategoricalCrossentropy(
        reduction="mean_with_sample_weight"
    )
    whole, split = (build_model(loss=loss) for _ in range(2))
    calls = run_out_of_memory(split, 5)
    expected, found = (
        train(one, sample_weight=WEIGHTS, epochs=1) for one in (whole, split)
    )
    assert min(calls) <= 5 and can_split(split.loss)
    np.testing.assert_allclose(found["loss"], expected["loss"], atol=1e-6)
    for one, two in zip(split.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert not can_split([loss, "mse", loss])


def test_gradients_of_parts_count_by_their_rows():
    recovery = MemoryRecovery()
    recovery.num_parts = 2
    rows = torch.arange(5.0)

    def differentiate(batch):
        return batch.mean(), batch * 10, [batch.mean(), None]

    loss, outputs, gradients = recovery.differentiate(differentiate, rows)
    assert float(loss) == 2.0 and torch.equal(outputs, rows * 10)
    assert float(gradients[0]) == 2.0 and gradients[1] is None
