"""AdamW beside torch, schedules, rates, accumulation, updates, freezing, seeds."""

import copy
import hashlib
import types

import keras
import numpy as np
import pytest
import tiny
import torch

import kbert
from kbert import training
from kbert.engine import compiling
from kbert.engine.lean import without_tensorflow
from kbert.engine.optimizers import FusedUpdate, can_fuse

TEXTS, LABELS = tiny.write_texts(32, seed=11)
NUM_STEPS = 20


@pytest.fixture(scope="module")
def arrays():
    return tiny.build_model(compile=False).preprocessor(TEXTS)


def read_trained(model) -> list[np.ndarray]:
    """Return the weights but for the keys' biases.

    Softmax does not see these, so their gradients are rounding errors, and Adam makes
    steps of full size of those.
    """
    pairs = zip(model.weights, tiny.read_weights(model), strict=True)
    return [value for weight, value in pairs if "key/bias" not in weight.path]


# === Beside transformers and torch ===

# Ours over theirs; q, k, v and the rest follow by name.
INSIDE = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
OUTSIDE = {
    "token_embedding/embeddings": "bert.embeddings.word_embeddings.weight",
    "position_embedding/embeddings": "bert.embeddings.position_embeddings.weight",
    "segment_embedding/embeddings": "bert.embeddings.token_type_embeddings.weight",
    "embeddings_layer_norm/gamma": "bert.embeddings.LayerNorm.weight",
    "embeddings_layer_norm/beta": "bert.embeddings.LayerNorm.bias",
    "pooled_dense/kernel": "bert.pooler.dense.weight",
    "pooled_dense/bias": "bert.pooler.dense.bias",
    "probabilities/kernel": "classifier.weight",
    "probabilities/bias": "classifier.bias",
}
ENDS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def name_in_transformers(path: str) -> str:
    path = path.removeprefix("classifier/")
    if path in OUTSIDE:
        return OUTSIDE[path]
    layer, rest = path.split("/", 1)
    inside, end = rest.rsplit("/", 1)
    number = layer.removeprefix("transformer_layer_")
    return f"bert.encoder.layer.{number}.{INSIDE[inside]}.{ENDS[end]}"


def weights_for_transformers(model) -> dict[str, torch.Tensor]:
    """Return copies in transformers' names and shapes."""
    found = {}
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        path, value = weight.path, torch.tensor(np.array(weight))
        if path.endswith("kernel"):
            inputs = 2 if "attention_output" in path else 1
            value = value.flatten(0, inputs - 1) if inputs > 1 else value.flatten(1)
            value = value.T
        elif path.endswith("bias"):
            value = value.flatten()
        found[name_in_transformers(path)] = value.contiguous()
    return found


def build_transformers(model, **changes):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=len(tiny.VOCABULARY),
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_size=16,
        intermediate_size=32,
        max_position_embeddings=24,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    theirs = transformers.BertForSequenceClassification(config).train()
    missing = theirs.load_state_dict(weights_for_transformers(model), strict=False)
    assert not missing.unexpected_keys
    assert all("position_ids" in key for key in missing.missing_keys)
    return theirs


def train_transformers(theirs, arrays, decay_all: bool, warmup: int, total: int):
    from transformers import get_linear_schedule_with_warmup

    spared = ("bias", "LayerNorm.weight", "LayerNorm.bias")
    named = list(theirs.named_parameters())
    groups = [
        {"params": [p for n, p in named if decay_all or not n.endswith(spared)]},
        {
            "params": [p for n, p in named if not decay_all and n.endswith(spared)],
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01, eps=1e-8)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, total)
    for step in range(NUM_STEPS):
        rows = slice(step % 4 * 8, step % 4 * 8 + 8)
        loss = theirs(
            input_ids=torch.tensor(arrays["token_ids"][rows]).long(),
            token_type_ids=torch.tensor(arrays["segment_ids"][rows]).long(),
            attention_mask=torch.tensor(arrays["padding_mask"][rows]).long(),
            labels=torch.tensor(LABELS[rows]).long(),
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("decay_all", [False, True])
def test_twenty_steps_agree_with_transformers_and_torch(decay_all, arrays):
    optimizer = kbert.adamw(
        1e-3,
        schedule="linear",
        warmup=0.1,
        epochs=5,
        examples=32,
        batch_size=8,
        decay_all=decay_all,
    )
    model = tiny.build_model(dropout=0.0, optimizer=optimizer)
    theirs = build_transformers(model)
    before = weights_for_transformers(model)
    with torch.no_grad():
        logits = theirs.eval()(
            input_ids=torch.tensor(arrays["token_ids"]).long(),
            attention_mask=torch.tensor(arrays["padding_mask"]).long(),
        ).logits
    theirs.train()
    expected = torch.softmax(logits, -1)
    np.testing.assert_allclose(model.predict(TEXTS), expected, atol=1e-5)
    model.fit(TEXTS, LABELS, 8, epochs=5, verbose=0, shuffle=False)
    train_transformers(theirs, arrays, decay_all, warmup=2, total=NUM_STEPS)
    found, wanted = weights_for_transformers(model), theirs.state_dict()
    for name, value in found.items():
        if name.endswith("key.bias"):
            continue  # its gradient is 0 but for rounding, which Adam blows up
        np.testing.assert_allclose(value, wanted[name], atol=1e-5, err_msg=name)
        assert not torch.equal(value, before[name]), name


# === Schedules ===


def rates_of(optimizer, num_updates: int) -> list[float]:
    """Return the rate of each update as the optimizer reads it."""
    found = []
    for _ in range(num_updates):
        found.append(float(optimizer.learning_rate))
        optimizer._iterations.assign_add(1)
    return found


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3, 0.1, 0.25])
def test_schedules_equal_transformers_update_for_update(schedule, warmup):
    transformers = pytest.importorskip("transformers")
    total = 40
    ours = kbert.adamw(
        2e-5, schedule=schedule, warmup=warmup, epochs=4, examples=75, batch_size=8
    )
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=2e-5)
    build = getattr(transformers, f"get_{schedule}_schedule_with_warmup")
    steps = warmup if warmup >= 1 else int(warmup * total)
    scheduler = build(theirs, steps, total)
    expected = []
    # Past its end transformers' cosine rises again; ours stays at 0.
    for _ in range(total + 1):
        expected.append(scheduler.get_last_lr()[0])
        theirs.step()
        scheduler.step()
    np.testing.assert_allclose(rates_of(ours, total + 1), expected, atol=1e-11)
    assert expected[-1] == pytest.approx(0, abs=1e-12)
    assert rates_of(ours, 5) == [0.0] * 5


def test_warm_up_without_a_schedule_stays_at_the_peak():
    optimizer = kbert.adamw(1e-3, warmup=4)
    expected = [0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3]
    np.testing.assert_allclose(rates_of(optimizer, 7), expected, atol=1e-9)
    share = kbert.adamw(1e-3, warmup=0.5, epochs=1, examples=64, batch_size=8)
    np.testing.assert_allclose(rates_of(share, 5), expected[:5], atol=1e-9)


def test_the_last_incomplete_batch_counts_as_an_update():
    optimizer = kbert.adamw(1.0, schedule="linear", epochs=2, examples=17, batch_size=8)
    assert optimizer._learning_rate.total_steps == 6


def test_a_schedule_counts_updates_and_not_the_steps_between_them(arrays):
    optimizer = kbert.adamw(
        1e-3, schedule="linear", epochs=2, examples=32, batch_size=4, accumulate=4
    )
    assert optimizer._learning_rate.total_steps == 4
    model = tiny.build_model(optimizer=optimizer)
    rates = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(
            float(optimizer.learning_rate)
        )
    )
    model.fit(TEXTS, LABELS, 4, 2, 0, [watch])
    # After the 4th, 8th, ... step an update is done and the rate falls by a quarter.
    updates = np.arange(1, 17) // 4
    np.testing.assert_allclose(rates, 1e-3 * (1 - updates / 4), atol=1e-9)


def test_a_schedule_survives_saving():
    schedule = training.WarmupDecay(1e-3, 5, 50, "cosine")
    with without_tensorflow():
        config = keras.optimizers.schedules.serialize(schedule)
        again = keras.optimizers.schedules.deserialize(config)
    steps = range(0, 60, 7)
    assert [float(again(s)) for s in steps] == [float(schedule(s)) for s in steps]
    optimizer = kbert.adamw(1e-3, warmup=5, head_learning_rate=1e-2, layer_decay=0.9)
    with without_tensorflow():
        copied = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copied) is training.AdamW
    assert copied.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"schedule": "linear"}, "needs the number of updates; pass epochs= and"),
        ({"warmup": 0.1}, "needs the number of updates"),
        ({"schedule": "linear", "epochs": 3}, "needs the number of updates"),
        ({"schedule": "step"}, "schedule must be 'linear', 'cosine' or None.*'step'"),
        ({"learning_rate": 0}, "learning_rate must be above 0; received 0"),
        ({"learning_rate": -1e-5}, "learning_rate must be above 0"),
        ({"accumulate": 0}, "accumulate must be above 0"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"layer_decay": -0.5}, "layer_decay must be above 0"),
        ({"warmup": -1}, "warmup must"),
        ({"weight_decay": -0.1}, "weight_decay must"),
        ({"head_learning_rate": -1e-3}, "head_learning_rate must be above 0"),
        ({"epochs": 0, "examples": 10}, "epochs must be above 0"),
    ],
)
def test_what_adamw_cannot_do_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kbert.adamw(**arguments)


# === Rates by layer ===


def rates_by_path(**arguments) -> dict[str, float]:
    model = tiny.build_model(optimizer=kbert.adamw(1e-3, **arguments))
    model.optimizer.build(model.trainable_variables)
    return {
        variable.path.removeprefix("classifier/"): model.optimizer.get_multiplier(
            variable
        )
        for variable in model.trainable_variables
    }


def test_layer_decay_and_head_rate_are_as_computed_by_hand():
    rates = rates_by_path(layer_decay=0.5, head_learning_rate=1e-2)
    expected = {
        "token_embedding": 0.25,
        "position_embedding": 0.25,
        "segment_embedding": 0.25,
        "embeddings_layer_norm": 0.25,
        "transformer_layer_0": 0.5,
        "transformer_layer_1": 1.0,
        "pooled_dense": 1.0,
        "probabilities": 10.0,
    }
    for path, rate in rates.items():
        assert rate == pytest.approx(expected[path.split("/")[0]]), path
    assert {path.split("/")[0] for path in rates} == set(expected)


@pytest.mark.parametrize("family", ["distil_bert", "roberta"])
def test_layer_decay_knows_every_familys_layers(family):
    model = tiny.build_model(family, optimizer=kbert.adamw(1e-3, layer_decay=0.5))
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    found = {
        next(
            (part for part in v.path.split("/") if part.startswith("transformer")),
            "head" if "probabilities" in v.path else "embeddings",
        ): optimizer.get_multiplier(v)
        for v in model.trainable_variables
    }
    assert found == {
        "embeddings": 0.25,
        "transformer_layer_0": 0.5,
        "transformer_layer_1": 1.0,
        "head": 1.0,
    }


def test_a_rate_is_what_a_weight_moves_by(arrays):
    """Adam's first step is the rate itself, whatever the gradient."""
    optimizer = kbert.adamw(
        1e-3, layer_decay=0.5, head_learning_rate=1e-2, weight_decay=0, epsilon=1e-20
    )
    model = tiny.build_model(dropout=0.0, optimizer=optimizer)
    before = {w.path: np.array(w) for w in model.weights}
    model.train_on_batch(arrays, LABELS)
    after = {w.path: np.array(w) for w in model.weights}
    moved = {path: np.abs(after[path] - before[path]).max() for path in before}
    for part, rate in (
        ("token_embedding/", 0.25e-3),
        ("transformer_layer_0/feedforward_output_dense/kernel", 0.5e-3),
        ("transformer_layer_1/feedforward_output_dense/kernel", 1e-3),
        ("probabilities/kernel", 1e-2),
    ):
        (path,) = (path for path in moved if part in path)
        assert moved[path] == pytest.approx(rate, rel=1e-3), path


def test_decay_spares_biases_and_norms_unless_told(arrays):
    """With a rate but no gradient to speak of, only decay moves a weight."""
    for decay_all in (False, True):
        optimizer = kbert.adamw(0.1, weight_decay=0.5, decay_all=decay_all)
        variables = [
            keras.Variable(np.ones(3, "float32"), name=name)
            for name in ("kernel", "bias", "gamma", "beta", "embeddings")
        ]
        optimizer.build(variables)
        FusedUpdate(optimizer, variables).apply([torch.zeros(3)] * 5)
        found = {v.name: round(float(np.array(v)[0]), 6) for v in variables}
        spared = 0.95 if decay_all else 1.0
        assert found == {
            "kernel": 0.95,
            "bias": spared,
            "gamma": spared,
            "beta": spared,
            "embeddings": 0.95,
        }


# === Accumulation ===


@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulation_equals_one_big_batch(clip):
    results = []
    for batch_size, accumulate in ((32, 1), (8, 4)):
        optimizer = kbert.adamw(1e-3, accumulate=accumulate, global_clipnorm=clip)
        model = tiny.build_model(dropout=0.0, optimizer=optimizer)
        model.fit(TEXTS, LABELS, batch_size, 3, 0, shuffle=False)
        results.append(read_trained(model))
    assert tiny.largest_difference(*results) < 1e-5


def test_weights_rest_between_accumulated_updates(arrays):
    model = tiny.build_model(optimizer=kbert.adamw(1e-3, accumulate=3))
    before = tiny.read_weights(model)
    trained = [i for i, w in enumerate(model.weights) if w.trainable]
    moved = []
    for _ in range(6):
        model.train_on_batch(arrays, LABELS)
        after = tiny.read_weights(model)
        moved.append(any(not np.array_equal(before[i], after[i]) for i in trained))
        before = after
    assert moved == [False, False, True, False, False, True]


# === The fused update and Keras's own ===

OPTIMIZERS = {
    "keras AdamW": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
    "keras Adam": lambda: keras.optimizers.Adam(1e-2),
    "Adam, decayed": lambda: keras.optimizers.Adam(1e-2, weight_decay=0.1),
    "SGD": lambda: keras.optimizers.SGD(0.1),
    "SGD, decayed": lambda: keras.optimizers.SGD(0.1, weight_decay=0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "kbert": lambda: kbert.adamw(1e-2, weight_decay=0.1, global_clipnorm=None),
    "kbert, rates": lambda: kbert.adamw(
        1e-2, head_learning_rate=1e-3, layer_decay=0.7, decay_all=True, epsilon=1e-3
    ),
    "kbert, schedule": lambda: kbert.adamw(
        1e-2, schedule="cosine", warmup=3, epochs=1, examples=640
    ),
    "clipped": lambda: keras.optimizers.AdamW(1e-2, global_clipnorm=0.5),
    "accumulating": lambda: keras.optimizers.AdamW(
        1e-2, gradient_accumulation_steps=4, global_clipnorm=0.5
    ),
    "scheduled": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.PolynomialDecay(0.1, 20)
    ),
}
PATHS = (
    "token_embedding/embeddings",
    "transformer_layer_0/kernel",
    "transformer_layer_1/bias",
    "embeddings_layer_norm/gamma",
    "probabilities/kernel",
)


def make_variables():
    generator = np.random.default_rng(0)
    variables = [
        keras.Variable(generator.normal(size=(6, 4)).astype("float32"), name="v")
        for _ in PATHS
    ]
    for variable, path in zip(variables, PATHS, strict=True):
        variable._path = path
    return variables


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_fused_update_equals_keras_own(name, sparse):
    generator = np.random.default_rng(1)
    gradients = generator.normal(size=(NUM_STEPS, len(PATHS), 6, 4)).astype("float32")
    gradients[:, 0, 3:] = 0  # rows of the table that no text touched
    results = []
    for fused in (True, False):
        optimizer, variables = OPTIMIZERS[name](), make_variables()
        assert can_fuse(optimizer)
        optimizer.build(variables)
        update = FusedUpdate(optimizer, variables)
        for step in gradients:
            values = [torch.tensor(gradient) for gradient in step]
            if fused:
                if sparse:
                    values[0] = values[0].to_sparse(1)
                update.apply(values)
            else:
                with torch.no_grad():
                    optimizer.apply(values, variables)
        results.append([np.array(variable) for variable in variables])
        assert int(optimizer._iterations.value) == NUM_STEPS
    assert tiny.largest_difference(*results) < 1e-5


@pytest.mark.parametrize("name", ["keras AdamW", "keras Adam", "momentum", "kbert"])
def test_training_with_the_fused_update_equals_keras_step(name, monkeypatch):
    results = []
    for fused in (True, False):
        model = tiny.build_model(dropout=0.0, optimizer=OPTIMIZERS[name]())
        model.optimizer.learning_rate = 0.1 if name == "momentum" else 1e-3
        with monkeypatch.context() as patch:
            if not fused:
                patch.setattr("kbert.engine.model.build_update", lambda model: None)
            model.fit(TEXTS, LABELS, 8, 5, 0, shuffle=False)
        results.append(read_trained(model))
    assert tiny.largest_difference(*results) < 1e-5


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.AdamW(1e-3, clipnorm=1.0),
        keras.optimizers.Adam(1e-3, amsgrad=True),
        keras.optimizers.SGD(1e-3, clipvalue=0.5),
        keras.optimizers.AdamW(1e-3, use_ema=True),
        keras.optimizers.RMSprop(1e-3),
        keras.optimizers.Lion(1e-4),
    ],
    ids=["clipnorm", "amsgrad", "clipvalue", "ema", "rmsprop", "lion"],
)
def test_other_optimizers_train_the_slower_way_and_it_is_said(optimizer, caplog):
    assert not can_fuse(optimizer)
    model = tiny.build_model(optimizer=copy.deepcopy(optimizer))
    history = model.fit(TEXTS, LABELS, 8, 2, 0).history
    assert np.isfinite(history["loss"]).all()
    assert any("slower update" in record.getMessage() for record in caplog.records)


def test_an_unknown_optimizer_is_said_once_however_many_batches(caplog):
    model = tiny.build_model(optimizer=keras.optimizers.RMSprop(1e-3))
    x, y = model.preprocessor(TEXTS[:4]), LABELS[:4]
    for _ in range(3):
        model.train_on_batch(x, y)
    assert caplog.text.count("slower update") == 1


def test_a_known_optimizer_keeps_its_update_from_batch_to_batch():
    model = tiny.build_model()
    x, y = model.preprocessor(TEXTS[:4]), LABELS[:4]
    model.train_on_batch(x, y)
    update = model._update
    model.train_on_batch(x, y)
    assert update is not None and model._update is update


def test_an_optimizer_that_is_exchanged_or_changed_counts_in_the_next_fit(caplog):
    model = tiny.build_model(dropout=0.0)
    model.fit(TEXTS, LABELS, 8, 1, 0)
    model.optimizer = keras.optimizers.SGD(0.0)
    before = tiny.read_weights(model)
    model.fit(TEXTS, LABELS, 8, 1, 0)
    tiny.assert_same_weights(model, before)
    model.optimizer = keras.optimizers.AdamW(1e-3)
    model.fit(TEXTS, LABELS, 8, 1, 0)
    assert "slower update" not in caplog.text
    model.optimizer.clipnorm = 1.0
    model.fit(TEXTS, LABELS, 8, 1, 0)
    assert caplog.text.count("slower update") == 1


def test_a_step_that_is_interrupted_leaves_nothing_for_the_next(monkeypatch):
    weights = []
    for is_interrupted in (False, True):
        model = tiny.build_model(dropout=0.0)
        x, y = model.preprocessor(TEXTS[:8]), LABELS[:8]
        model.train_on_batch(x, y)
        if is_interrupted:
            with monkeypatch.context() as patch:
                patch.setattr(FusedUpdate, "_update_adam", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    model.train_on_batch(model.preprocessor(TEXTS[8:16]), y)
        model.train_on_batch(x, y)
        weights.append(tiny.read_weights(model))
    tiny.assert_same_weights(*weights)


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_a_device_that_the_engine_does_not_know_is_said(monkeypatch, caplog):
    model = tiny.build_model()
    elsewhere = types.SimpleNamespace(device=torch.device("mps"))
    variables = [types.SimpleNamespace(value=elsewhere)]
    optimizer = model.optimizer
    monkeypatch.setattr(compiling, "check_knows", lambda *_: None)
    stand_in = types.SimpleNamespace(optimizer=optimizer, trainable_variables=variables)
    assert compiling.build_update(stand_in) is None
    assert "does not know the device mps" in caplog.text


# === Freezing ===


def trained_parts(model) -> set[str]:
    """Return the layers that one epoch changes."""
    before = {w.path: np.array(w) for w in model.weights if "seed" not in w.path}
    model.fit(TEXTS, LABELS, 8, verbose=0)
    changed = {
        path.removeprefix("classifier/").split("/")[0]
        for path, value in before.items()
        for weight in model.weights
        if weight.path == path and not np.array_equal(value, np.array(weight))
    }
    return changed


def compile_again(model):
    model.compile(
        kbert.adamw(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


EMBEDDINGS = {
    "token_embedding",
    "position_embedding",
    "segment_embedding",
    "embeddings_layer_norm",
}
LAYERS = {"transformer_layer_0", "transformer_layer_1"}
TOP = {"pooled_dense", "probabilities"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"probabilities"}),
        ({"embeddings": True}, LAYERS | TOP),
        ({"layers": 1}, EMBEDDINGS | {"transformer_layer_1"} | TOP),
        ({"layers": 1, "embeddings": True}, {"transformer_layer_1"} | TOP),
        ({"layers": 2, "embeddings": True}, TOP),
        ({"pooler": True}, EMBEDDINGS | LAYERS | {"probabilities"}),
        ({"layers": 0}, EMBEDDINGS | LAYERS | TOP),
    ],
    ids=["all", "embeddings", "first", "first two", "but pooler", "pooler", "none"],
)
def test_freezing_stops_what_it_says(arguments, expected):
    model = tiny.build_model()
    kbert.freeze(model, **arguments)
    assert trained_parts(compile_again(model)) == expected


@pytest.mark.parametrize("family", ["distil_bert", "roberta"])
def test_freezing_knows_every_family(family):
    model = tiny.build_model(family)
    kbert.freeze(model, 1, embeddings=True)
    assert trained_parts(compile_again(model)) == {
        "transformer_layer_1",
        "probabilities",
    }
    kbert.freeze(model)
    assert trained_parts(compile_again(model)) == {"probabilities"}


def test_staged_training_unfreezes_again():
    model = tiny.build_model()
    kbert.freeze(model)
    assert trained_parts(compile_again(model)) == {"probabilities"}
    kbert.unfreeze(model)
    kbert.freeze(model, 1, embeddings=True)
    assert trained_parts(compile_again(model)) == {"transformer_layer_1"} | TOP
    kbert.unfreeze(model)
    assert trained_parts(compile_again(model)) == EMBEDDINGS | LAYERS | TOP


def test_a_frozen_encoder_trains_the_same_head_as_keras_would(arrays):
    results = []
    for kind in (kbert.Model, keras.Model):
        kbert.set_seed(0)
        backbone = kbert.load_backbone(tiny.build_preset(), precision="float32")
        kbert.freeze(backbone)
        x = backbone(backbone.input)["pooled_output"]
        outputs = keras.layers.Dense(2, activation="softmax")(x)
        model = kind(backbone.input, outputs)
        # No dropout: what the encoder drops in training is another question.
        for layer in backbone._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        results.append(model)
    ours, theirs = results
    assert len(ours.trainable_variables) == len(theirs.trainable_variables) == 2


def test_freezing_works_on_a_backbone_and_inside_any_keras_model():
    backbone = kbert.load_backbone(tiny.build_preset())
    kbert.freeze(backbone)
    assert not backbone.trainable_variables
    kbert.unfreeze(backbone)
    assert len(backbone.trainable_variables) == len(backbone.weights)
    outputs = keras.layers.Dense(2)(backbone(backbone.input)["pooled_output"])
    plain = keras.Model(backbone.input, outputs)
    kbert.freeze(plain)
    assert len(plain.trainable_variables) == 2
    nested = keras.Model(backbone.input, keras.layers.ReLU()(plain(backbone.input)))
    kbert.unfreeze(nested)
    assert len(nested.trainable_variables) == len(plain.weights)


@pytest.mark.parametrize("layers", [-1, 3])
def test_freezing_layers_that_are_not_there_is_one_sentence(layers):
    with pytest.raises(ValueError, match=rf"layers must lie in \[0, 2\].*{layers}"):
        kbert.freeze(tiny.build_model(), layers)


@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_a_linear_layer_behind_the_last_shows_what_it_is_given(activation, dtype):
    """Probabilities stay such, as in mixed precision, where the last layer casts."""
    texts, labels = tiny.write_texts(16)
    losses = []
    for ends_linear in (False, True):
        kbert.set_seed(0)
        dense = keras.layers.Dense(2, activation=activation)
        last = keras.layers.Activation("linear", dtype=dtype)
        head = (lambda x: last(dense(x))) if ends_linear else dense  # noqa: B023
        model = tiny.build_model(head=head, compile=False)
        model.compile(kbert.adamw(1e-9), "sparse_categorical_crossentropy")
        losses.append(model.evaluate(texts, labels, verbose=0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "log_softmax", None])
def test_on_features_the_loss_starts_from_logits_too(activation):
    texts, labels = tiny.write_texts(32)
    model = tiny.build_model(head=keras.layers.Dense(2, activation=activation))
    kbert.freeze(model)
    model.compile(kbert.adamw(1e-9), "sparse_categorical_crossentropy")
    history = model.fit(texts, labels, validation_data=(texts, labels), verbose=0)
    found = model.evaluate(texts, labels, return_dict=True, verbose=0)["loss"]
    expected = pytest.approx(found, rel=1e-5)
    assert history.history["loss"][0] == expected
    assert history.history["val_loss"][0] == expected


def test_a_model_without_an_encoder_cannot_be_frozen():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for function in (kbert.freeze, kbert.unfreeze):
        with pytest.raises(ValueError, match="Sequential has no kbert backbone"):
            function(model)


# === Seeds and class weights ===


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_one_sentence(seed):
    with pytest.raises(ValueError, match="seed must be a whole number in"):
        kbert.set_seed(seed)


def test_a_seed_fixes_everything_that_draws():
    import random

    def draw():
        return (
            random.random(),
            np.random.rand(),
            float(torch.rand(())),
            float(keras.random.uniform(())),
        )

    kbert.set_seed(7)
    first = draw()
    kbert.set_seed(7)
    assert draw() == first
    kbert.set_seed(8)
    assert draw() != first


def digest_of_a_run() -> str:
    """Train from a seed and digest the weights and what they predict."""
    texts, labels = tiny.write_texts(48)
    optimizer = kbert.adamw(
        1e-2, schedule="linear", warmup=0.1, epochs=2, examples=48, batch_size=8
    )
    model = tiny.build_model(seed=5, optimizer=optimizer)
    model.fit(texts, labels, 8, 2, 0, class_weight="balanced")
    digest = hashlib.sha256(model.predict(texts).tobytes())
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_two_processes_train_bit_identical_weights():
    code = "import test_training; print(test_training.digest_of_a_run())"
    found = tiny.run_python(code, KERAS_BACKEND="torch")
    assert found.strip() == digest_of_a_run()


def test_balanced_class_weight_is_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.random.default_rng(0).integers(0, 4, 50)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = training.balanced_class_weight(labels, 4)
    assert list(found) == [0, 1, 2, 3]
    np.testing.assert_allclose(list(found.values()), expected)
    assert np.mean([found[label] for label in labels]) == pytest.approx(1)
    assert training.balanced_class_weight(np.eye(4)[labels], 4) == found


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 3, 2], r"in \[0, 3\); row 2 has 3"),
        ([0, -1, 1, 2], r"in \[0, 3\); row 1 has -1"),
        ([0, 0, 2], "class 1 has no training example"),
    ],
)
def test_labels_that_cannot_be_balanced_are_one_sentence(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        training.balanced_class_weight(labels, 3)


def test_a_loss_that_is_no_number_says_where(arrays):
    model = tiny.build_model(optimizer=keras.optimizers.SGD(1e38))
    model.train_on_batch(arrays, LABELS)
    with pytest.raises(RuntimeError, match="loss is nan at step 1.*learning rate"):
        model.train_on_batch(arrays, LABELS)
