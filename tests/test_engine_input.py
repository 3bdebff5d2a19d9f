"""Wrong input to the engine is one sentence, before any weight changes."""

import re
from functools import partial

import keras
import numpy as np
import pytest
import torch
from engine_cases import FAMILIES, VOCABULARY_SIZE, build_backbone, build_batch

import kbert

NUM_ROWS = 12
LENGTHS = np.random.default_rng(2).integers(2, 9, NUM_ROWS).tolist()
IDS = (np.arange(NUM_ROWS) % 3).astype("int32")
MAX_LENGTH = 32  # of the position table of these encoders
# A batch is all rows, or the row stands in the second of three batches.
BATCHES = [NUM_ROWS, 4]


def build_model(family="bert", activation="softmax", units=3):
    backbone = build_backbone(family, dropout=0.0)
    outputs = backbone(backbone.input)
    if family == "bert":
        features = outputs["pooled_output"]
    else:
        features = outputs[:, 0, :]
    head = keras.layers.Dense(units, activation, name="head")(features)
    return compile_anew(kbert.Model(backbone.input, head))


def compile_anew(model, **options):
    optimizer = options.pop("optimizer", None) or kbert.adamw(1e-3)
    loss = options.pop("loss", "sparse_categorical_crossentropy")
    model.compile(optimizer, loss, **options)
    return model


@pytest.fixture(scope="module")
def models():
    return {family: build_model(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def bert(models):
    return models["bert"]


def spoil(family="bert", **changes):
    """Return a batch with `(row, column): value` written into some inputs."""
    inputs = build_batch(family, LENGTHS)
    for name, values in changes.items():
        for place, value in values.items():
            inputs[name][place] = value
    return inputs


def assert_is_one_sentence(error):
    """Check that a message can be read at a glance: no array, no second line."""
    message = str(error)
    assert "\n" not in message, message
    assert message.endswith(".") and len(message) < 350, message
    assert "array(" not in message and "Tensor(" not in message, message
    assert "Arguments received" not in message and "\x1b" not in message, message
    return message


def call_in_every_way(model, inputs):
    """Yield what a user may do with inputs: train, evaluate, predict, call."""
    options = {"verbose": 0, "batch_size": NUM_ROWS}
    yield lambda: model.fit(inputs, IDS, shuffle=False, **options)
    yield lambda: model.evaluate(inputs, IDS, **options)
    yield lambda: model.predict(inputs, **options)
    yield lambda: model.train_on_batch(inputs, IDS)
    yield lambda: model.predict_on_batch(inputs)
    yield lambda: model(inputs)
    yield lambda: model.backbone(inputs)
    yield lambda: model.backbone(inputs, training=True)
    yield lambda: model.backbone.predict(inputs, verbose=0, batch_size=NUM_ROWS)


def copy_state(model):
    variables = [*model.weights, *model.optimizer.variables]
    return {v.path: v.value.detach().clone() for v in variables}


def assert_unchanged(model, state):
    for path, value in copy_state(model).items():
        before = state.get(path)
        if before is None:  # the optimizer's own, made when training began
            assert not value.any() or path.endswith("learning_rate"), path
        else:
            assert torch.equal(value, before), path


def assert_refused(model, inputs, *words):
    """Check that everything refuses the inputs alike, naming all of `words`."""
    state = copy_state(model)
    messages = set()
    for call in call_in_every_way(model, inputs):
        with pytest.raises(ValueError) as error:
            call()
        message = assert_is_one_sentence(error.value)
        for word in words:
            assert re.search(word, message), (word, message)
        messages.add(message)
    assert_unchanged(model, state)
    assert len(messages) == 1, messages


# === Token ids ===


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrong", [VOCABULARY_SIZE, VOCABULARY_SIZE + 5000, -1])
def test_a_token_id_outside_the_vocabulary_names_its_row(models, family, wrong):
    inputs = spoil(family, token_ids={(5, 1): wrong})
    assert_refused(
        models[family],
        inputs,
        "token_ids",
        r"row 5\b",
        rf"(?<!\d){wrong}\b",
        rf"\b{VOCABULARY_SIZE}\b",
    )


def test_the_first_of_several_wrong_rows_is_named(bert):
    wrong = {(3, 0): 70, (5, 1): 90, (9, 0): 60}
    assert_refused(bert, spoil(token_ids=wrong), r"row 3\b", r"\b70\b")


def test_the_last_token_id_of_the_vocabulary_is_right(bert):
    inputs = spoil(token_ids={(5, 1): VOCABULARY_SIZE - 1})
    assert np.isfinite(bert.predict(inputs, verbose=0)).all()


def test_a_segment_id_outside_the_table_names_its_row(bert):
    inputs = spoil(segment_ids={(7, 0): 2})
    assert_refused(bert, inputs, "segment_ids", r"row 7\b", r"\b2\b")


@pytest.mark.parametrize("name", ["token_ids", "segment_ids"])
@pytest.mark.parametrize("kind", ["float32", "float64", "torch"])
def test_float_ids_are_refused_and_not_cut_off(bert, name, kind):
    inputs = build_batch("bert", LENGTHS)
    dtype = "float32" if kind == "torch" else kind
    inputs[name] = inputs[name].astype(dtype)
    inputs[name][6, 1] = 0.75
    if kind == "torch":
        inputs = {key: torch.as_tensor(value) for key, value in inputs.items()}
    assert_refused(bert, inputs, name, "int", "float")


def test_ids_that_are_not_a_number_are_refused(bert):
    inputs = build_batch("bert", LENGTHS)
    inputs["token_ids"] = inputs["token_ids"].astype("float32")
    inputs["token_ids"][4, 0] = np.nan
    assert_refused(bert, inputs, "token_ids", "int")


# === Masks and lengths ===


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_of_all_zeros_names_its_row(models, family):
    inputs = spoil(family, padding_mask={8: 0})
    assert_refused(models[family], inputs, "padding_mask", r"row 8\b")


def test_the_first_of_several_empty_rows_is_named(bert):
    inputs = spoil(padding_mask={8: 0, 2: 0, 11: 0})
    assert_refused(bert, inputs, r"row 2\b")


def test_a_row_that_begins_with_padding_is_refused_where_its_first_token_is_read(bert):
    inputs = build_batch("bert", [8] * NUM_ROWS)
    inputs["padding_mask"][1, :5] = 0
    for call in (bert.predict, partial(bert.fit, y=IDS, shuffle=False)):
        with pytest.raises(ValueError, match=r"begin with a token.*row 1 .*Pad behind"):
            call(inputs, batch_size=NUM_ROWS, verbose=0)
    found = bert.backbones[0](inputs)["sequence_output"]  # works where none is
    assert np.isfinite(found.detach().numpy()).all()


def test_a_mask_with_holes_works(bert):
    inputs = build_batch("bert", [8] * NUM_ROWS)
    inputs["padding_mask"][2, 2:4] = 0
    assert np.isfinite(bert.predict(inputs, verbose=0)).all()
    history = bert.fit(inputs, IDS, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_longer_than_the_position_table_say_how_long(models, family):
    inputs = build_batch(family, LENGTHS, num_columns=MAX_LENGTH + 3)
    inputs["padding_mask"][:] = 1
    assert_refused(
        models[family], inputs, rf"\b{MAX_LENGTH}\b", rf"\b{MAX_LENGTH + 3}\b"
    )


def test_texts_as_long_as_the_position_table_are_right(bert):
    inputs = build_batch("bert", [MAX_LENGTH] * NUM_ROWS)
    assert np.isfinite(bert.predict(inputs, verbose=0)).all()


def test_inputs_of_different_shapes_are_refused(bert):
    inputs = build_batch("bert", LENGTHS)
    inputs["padding_mask"] = inputs["padding_mask"][:, :-1]
    assert_refused(bert, inputs, "padding_mask")


# === In the middle of training ===


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_ids": {(6, 0): 4000}}, (r"row 2\b", r"\b4000\b")),
        ({"padding_mask": {6: 0}}, (r"row 2\b", "padding_mask")),
    ],
    ids=["ids", "mask"],
)
def test_the_row_is_counted_in_its_batch_and_its_step_changes_nothing(
    bert, changes, words
):
    optimizer = keras.optimizers.SGD(1e-2)
    model, good = compile_anew(bert, optimizer=optimizer), build_batch("bert", LENGTHS)
    first = {name: value[:4] for name, value in good.items()}
    kept = [np.array(weight) for weight in model.get_weights()]
    model.fit(first, IDS[:4], batch_size=4, shuffle=False, verbose=0)
    expected = [np.array(weight) for weight in model.get_weights()]
    model.set_weights(kept)
    compile_anew(model, optimizer=keras.optimizers.SGD(1e-2))
    with pytest.raises(ValueError) as error:
        model.fit(spoil(**changes), IDS, batch_size=4, shuffle=False, verbose=0)
    message = assert_is_one_sentence(error.value)
    assert all(re.search(word, message) for word in words), message
    assert int(model.optimizer.iterations) == 1
    for one, two in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, two)
    compile_anew(model)


# === A loss that is no number ===


def poison_token(model, token):
    """Let every text with this token have features that are no numbers."""
    table = model.backbone.token_embedding.embeddings
    with torch.no_grad():
        table.value[token] = float("nan")


def build_poisoned(rows, token=39):
    """Return a model and inputs whose outputs are no numbers in these rows."""
    model, inputs = build_model(), build_batch("bert", LENGTHS)
    inputs["token_ids"] %= token
    for row in rows:
        inputs["token_ids"][row, 1] = token
    poison_token(model, token)
    return model, inputs


def test_a_loss_that_is_no_number_names_step_rows_and_what_to_try():
    model, inputs = build_poisoned([9, 11])
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(copy_state(self.model))

    with pytest.raises(RuntimeError) as error:
        model.fit(
            inputs, IDS, batch_size=4, shuffle=False, verbose=0, callbacks=[Watch()]
        )
    message = assert_is_one_sentence_or_two(error.value)
    assert "nan" in message and re.search(r"rows \[1, 3\]", message), message
    # Two steps went well; the third is number 2 from 0 and number 3 from 1.
    assert re.search(r"step [23]\b", message), message
    assert "learning rate" in message and "clip" in message
    assert len(seen) == 2 and int(model.optimizer.iterations) == 2
    for path, value in copy_state(model).items():
        assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(seen[-1][path])), (
            path
        )


def assert_is_one_sentence_or_two(error):
    """Check for one line: what happened, and what to try."""
    message = str(error)
    assert "\n" not in message and message.endswith("."), message
    assert len(message) < 450 and "array(" not in message, message
    return message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_label_that_is_no_number_names_its_row(value):
    model = compile_anew(build_model(activation=None, units=1), loss="mse")
    labels = np.linspace(-1, 1, NUM_ROWS).astype("float32")[:, None]
    labels[6] = value
    state = copy_state(model)
    with pytest.raises(RuntimeError) as error:
        inputs = build_batch("bert", LENGTHS)
        model.fit(inputs, labels, batch_size=NUM_ROWS, shuffle=False, verbose=0)
    message = assert_is_one_sentence_or_two(error.value)
    assert "label" in message and re.search(r"\b6\b", message), message
    assert_unchanged(model, state)


def test_a_sample_weight_that_is_no_number_names_its_row(bert):
    weights = np.ones(NUM_ROWS, "float32")
    weights[5] = np.nan
    compile_anew(bert)
    state = copy_state(bert)
    with pytest.raises(RuntimeError) as error:
        bert.fit(
            build_batch("bert", LENGTHS), IDS, sample_weight=weights,
            batch_size=NUM_ROWS, shuffle=False, verbose=0,
        )  # fmt: skip
    message = assert_is_one_sentence_or_two(error.value)
    assert "weight" in message and re.search(r"\b5\b", message), message
    assert_unchanged(bert, state)


@pytest.mark.parametrize(
    "optimizer", [keras.optimizers.Adagrad, keras.optimizers.RMSprop]
)
@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_no_number_stops_keras_own_update_too(optimizer):
    model, inputs = build_poisoned([1])
    compile_anew(model, optimizer=optimizer(1e-2))
    state = copy_state(model)
    with pytest.raises(RuntimeError) as error:
        model.fit(inputs, IDS, batch_size=4, shuffle=False, verbose=0)
    assert re.search(r"rows \[1\]", str(error.value))
    head = model.get_layer("head").kernel
    assert torch.equal(head.value, state[head.path])


def test_terminate_on_nan_still_stops_training_quietly():
    model, inputs = build_poisoned([1])
    before = model.get_layer("head").get_weights()[0].copy()
    history = model.fit(
        inputs, IDS, batch_size=4, shuffle=False, verbose=0, epochs=3,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )  # fmt: skip
    assert len(history.history["loss"]) == 1
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[0], before)


# === Labels ===


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_label_outside_the_classes_names_its_row(bert, wrong):
    labels = IDS.copy()
    labels[7] = wrong
    compile_anew(bert)
    state = copy_state(bert)
    with pytest.raises(ValueError) as error:
        bert.fit(
            build_batch("bert", LENGTHS), labels,
            batch_size=NUM_ROWS, shuffle=False, verbose=0,
        )  # fmt: skip
    message = assert_is_one_sentence_or_two(error.value)
    assert re.search(r"row 7\b", message) and str(wrong) in message, message
    assert_unchanged(bert, state)


# === Devices ===


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "gpu:0"])
def test_a_gpu_that_does_not_exist_is_one_sentence(device):
    if torch.cuda.is_available() and device != "cuda:7":
        pytest.skip("there is one")
    from kbert.devices import use_device

    with pytest.raises((RuntimeError, ValueError)) as error:
        with use_device(device):
            build_model()
    message = assert_is_one_sentence_or_two(error.value)
    assert "GPU" in message or device in message, message


def test_a_device_nobody_knows_is_one_sentence():
    from kbert.devices import use_device

    with pytest.raises((RuntimeError, ValueError)) as error:
        with use_device("abacus"):
            build_model()
    assert "abacus" in assert_is_one_sentence_or_two(error.value)
