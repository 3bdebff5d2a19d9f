"""The engine's training step ends in the weights that Keras's own ends in."""

import logging
import shutil

import keras
import numpy as np
import pytest
import tiny
import torch
from engine_cases import (
    assert_same_outputs,
    assert_same_weights,
    build_backbone,
    build_batch,
    build_pair,
    copy_weights,
    randomise,
    read_weights,
    write_weights,
)

import kbert
from kbert.engine import optimizers
from kbert.engine.dropout import Dropout

ROWS, BATCH_SIZE = 20, 4  # five steps
LENGTHS = np.random.default_rng(0).integers(2, 12, ROWS).tolist()
INPUTS = build_batch("bert", LENGTHS)
GENERATOR = np.random.default_rng(1)
IDS = GENERATOR.integers(0, 3, ROWS).astype("int32")
ONE_HOT = np.eye(3, dtype="float32")[IDS]
BINARY = (IDS == 1).astype("float32")[:, None]
SEVERAL = GENERATOR.integers(0, 2, (ROWS, 3)).astype("float32")
SHARES = GENERATOR.dirichlet([1, 1, 1], ROWS).astype("float32")
NUMBERS = GENERATOR.normal(2, 1, (ROWS, 1)).astype("float32")
POSITIVE = np.abs(NUMBERS) + 0.1
VECTORS = GENERATOR.normal(0, 1, (ROWS, 3)).astype("float32")


def dense(units, activation=None, **options):
    def build(features):
        return keras.layers.Dense(units, activation, name="head", **options)(features)

    return build


HEADS = {
    "softmax": dense(3, "softmax"),
    "sigmoid": dense(1, "sigmoid"),
    "sigmoids": dense(3, "sigmoid"),
    "number": dense(1),
    "positive": dense(1, "softplus"),
    "numbers": dense(3),
}


@pytest.fixture(scope="module")
def pairs():
    """Models by head, on the engine and on Keras's layers, made once."""
    made = {}

    def get(head):
        if head not in made:
            pair = build_pair(HEADS[head])
            made[head] = pair, read_weights(pair[0])
        pair, weights = made[head]
        for model in pair:
            write_weights(model, weights)
        return pair

    return get


def adamw(**options):
    return keras.optimizers.AdamW(1e-3, **options)


def train(model, labels, optimizer, *, inputs=INPUTS, compiling=None, **fitting):
    """Compile and train; return the epochs' logs."""
    compiling = {"loss": "sparse_categorical_crossentropy"} | (compiling or {})
    model.compile(optimizer(), **compiling)
    fitting = {"batch_size": BATCH_SIZE, "shuffle": False, "verbose": 0} | fitting
    return model.fit(inputs, labels, **fitting).history


def assert_trains_alike(pair, labels, optimizer=adamw, tolerance=1e-5, **options):
    """Train both and compare weights, logs and the optimizers' own variables."""
    before = read_weights(pair[0])
    ours, theirs = (train(model, labels, optimizer, **options) for model in pair)
    assert_same_weights(*pair, tolerance)
    moved = [np.abs(v - before[k]).max() for k, v in read_weights(pair[0]).items()]
    assert max(moved) > 1e-4, "nothing was trained"
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(
            ours[name], values, rtol=1e-4, atol=1e-5, err_msg=name
        )
    return ours


# === Losses ===

losses = keras.losses
LOSSES = {
    "sparse": ("softmax", IDS, "sparse_categorical_crossentropy"),
    "sparse, column": (
        "softmax",
        IDS[:, None],
        losses.SparseCategoricalCrossentropy(),
    ),
    "sparse, ignored class": (
        "softmax",
        IDS,
        losses.SparseCategoricalCrossentropy(ignore_class=2),
    ),
    "sparse, logits": (
        "numbers",
        IDS,
        losses.SparseCategoricalCrossentropy(from_logits=True),
    ),
    "categorical": ("softmax", ONE_HOT, "categorical_crossentropy"),
    "categorical, smoothed": (
        "softmax",
        ONE_HOT,
        losses.CategoricalCrossentropy(label_smoothing=0.1),
    ),
    "categorical, logits": (
        "numbers",
        ONE_HOT,
        losses.CategoricalCrossentropy(from_logits=True),
    ),
    "categorical, soft labels": ("softmax", SHARES, "categorical_crossentropy"),
    "categorical, summed": (
        "softmax",
        ONE_HOT,
        losses.CategoricalCrossentropy(reduction="sum"),
    ),
    "categorical focal": ("softmax", ONE_HOT, "categorical_focal_crossentropy"),
    "generalised": (
        "softmax",
        IDS,
        losses.CategoricalGeneralizedCrossEntropy(),
    ),
    "binary": ("sigmoid", BINARY, "binary_crossentropy"),
    "binary, flat labels": ("sigmoid", BINARY[:, 0], "binary_crossentropy"),
    "binary, smoothed": (
        "sigmoid",
        BINARY,
        losses.BinaryCrossentropy(label_smoothing=0.2),
    ),
    "binary, logits": (
        "number",
        BINARY,
        losses.BinaryCrossentropy(from_logits=True),
    ),
    "binary, several labels": ("sigmoids", SEVERAL, "binary_crossentropy"),
    "binary focal": ("sigmoid", BINARY, "binary_focal_crossentropy"),
    "binary focal, balanced": (
        "sigmoids",
        SEVERAL,
        losses.BinaryFocalCrossentropy(apply_class_balancing=True, gamma=1.5),
    ),
    "hinge": ("number", 2 * BINARY - 1, "hinge"),
    "squared hinge": ("number", 2 * BINARY - 1, "squared_hinge"),
    "categorical hinge": ("numbers", ONE_HOT, "categorical_hinge"),
    "KL divergence": ("softmax", SHARES, "kl_divergence"),
    "Poisson": ("positive", POSITIVE, "poisson"),
    "Dice": ("sigmoids", SEVERAL, losses.Dice()),
    "Tversky": ("sigmoids", SEVERAL, losses.Tversky(alpha=0.3, beta=0.7)),
    "mean squared": ("number", NUMBERS, "mse"),
    "mean squared, flat labels": ("number", NUMBERS[:, 0], "mse"),
    "mean absolute": ("number", NUMBERS, "mae"),
    "mean absolute percentage": ("number", POSITIVE, "mape"),
    "mean squared logarithmic": ("positive", POSITIVE, "msle"),
    "Huber": ("number", NUMBERS, losses.Huber(0.5)),
    "log cosh": ("number", NUMBERS, "log_cosh"),
    "cosine": ("numbers", VECTORS, losses.CosineSimilarity()),
    "a function": (
        "numbers",
        VECTORS,
        lambda y, p: keras.ops.mean(keras.ops.abs(y - p) ** 3, -1),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_as_in_keras(pairs, name):
    head, labels, loss = LOSSES[name]
    assert_trains_alike(pairs(head), labels, compiling={"loss": loss})


# === Optimizers the engine knows ===

schedules = keras.optimizers.schedules
KNOWN = {
    "Adam": lambda: keras.optimizers.Adam(1e-3),
    "AdamW": adamw,
    "AdamW, clipped": lambda: adamw(global_clipnorm=0.1, weight_decay=0.1),
    "AdamW, loosely clipped": lambda: adamw(global_clipnorm=1e4),
    "AdamW, large epsilon": lambda: adamw(epsilon=1e-2, beta_1=0.8, beta_2=0.9),
    "AdamW, schedule": lambda: keras.optimizers.AdamW(
        schedules.CosineDecay(0.0, 15, warmup_target=1e-3, warmup_steps=5)
    ),
    "SGD": lambda: keras.optimizers.SGD(1e-2),
    "SGD, momentum": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
    "SGD, Nesterov": lambda: keras.optimizers.SGD(
        1e-2, momentum=0.9, nesterov=True, weight_decay=0.1, global_clipnorm=1.0
    ),
    "kbert": lambda: kbert.adamw(1e-3),
    "kbert, everything": lambda: kbert.adamw(
        1e-3,
        schedule="linear",
        warmup=0.2,
        epochs=4,
        examples=ROWS,
        batch_size=BATCH_SIZE,
        weight_decay=0.1,
        global_clipnorm=0.5,
        head_learning_rate=5e-3,
        layer_decay=0.7,
    ),
    "kbert, no clipping": lambda: kbert.adamw(
        1e-3, decay_all=True, global_clipnorm=None
    ),
}


@pytest.fixture
def notices(caplog):
    """Return the one-line notices that kbert gave."""
    caplog.set_level(logging.WARNING, "kbert")

    def read():
        return [r.getMessage() for r in caplog.records if r.name == "kbert"]

    return read


@pytest.mark.parametrize("name", KNOWN)
def test_known_optimizers_equal_keras_over_twenty_steps(pairs, notices, name):
    pair = pairs("softmax")
    assert_trains_alike(pair, IDS, KNOWN[name], epochs=4)
    assert notices() == []
    assert_same_optimizers(*pair)


def assert_same_optimizers(one, other):
    """Compare what a saved optimizer would hold, so that either can go on."""
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations)
    ours, theirs = (
        {v.path.split("/", 1)[1]: v for v in model.optimizer.variables}
        for model in (one, other)
    )
    assert ours.keys() == theirs.keys()
    for path, variable in theirs.items():
        np.testing.assert_allclose(
            np.array(ours[path].value),
            np.array(variable.value),
            rtol=1e-3,
            atol=1e-5,
            err_msg=path,
        )


def train_with_torch(plain, optimizer, steps):
    """Train a Keras graph with torch's own loop, clipping included."""
    for step in range(steps):
        first = step * BATCH_SIZE % ROWS
        rows = slice(first, first + BATCH_SIZE)
        optimizer.zero_grad()
        logits = plain({name: value[rows] for name, value in INPUTS.items()})
        labels = torch.as_tensor(IDS[rows]).long()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        parameters = optimizer.param_groups[0]["params"]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


def test_kbert_adamw_equals_torch_over_twenty_steps(pairs):
    ours, plain = pairs("numbers")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    parameters = [variable.value for variable in plain.trainable_variables]
    theirs = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.1)
    train_with_torch(plain, theirs, 20)
    train(
        ours,
        IDS,
        lambda: kbert.adamw(1e-3, weight_decay=0.1, decay_all=True),
        compiling={"loss": loss},
        epochs=4,
    )
    assert_same_weights(ours, plain)


# === What the engine leaves to Keras, with one line said ===

UNKNOWN = {
    "Adagrad": lambda: keras.optimizers.Adagrad(1e-2),
    "Lion": lambda: keras.optimizers.Lion(1e-4),
    "RMSprop": lambda: keras.optimizers.RMSprop(1e-3),
    "Adam, amsgrad": lambda: keras.optimizers.Adam(1e-3, amsgrad=True),
    "AdamW, clipnorm": lambda: adamw(clipnorm=0.05),
    "AdamW, clipvalue": lambda: adamw(clipvalue=1e-3),
    "AdamW, EMA": lambda: adamw(use_ema=True, ema_momentum=0.5),
    "SGD, EMA written over": lambda: keras.optimizers.SGD(
        1e-2, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_optimizers_fall_back_with_one_line(pairs, notices, name):
    pair = pairs("softmax")
    assert_trains_alike(pair, IDS, UNKNOWN[name], epochs=2)
    assert len(notices()) == 1 and "\n" not in notices()[0]
    assert type(UNKNOWN[name]()).__name__ in notices()[0]


def test_an_optimizer_of_the_users_own_falls_back(pairs, notices):
    class Halved(keras.optimizers.AdamW):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate / 2)

    assert_trains_alike(pairs("softmax"), IDS, lambda: Halved(1e-3))
    assert len(notices()) == 1 and "Halved" in notices()[0]


def test_constraints_fall_back_and_hold(notices):
    head = dense(3, "softmax", kernel_constraint=keras.constraints.MaxNorm(0.5))
    pair = build_pair(head)
    assert_trains_alike(pair, IDS)
    assert len(notices()) == 1
    norms = np.linalg.norm(pair[0].get_layer("head").get_weights()[0], axis=0)
    assert norms.max() < 0.5 + 1e-5


# === Weights of rows and classes, accumulation ===


@pytest.mark.parametrize("name", ["sparse", "categorical", "binary", "mean squared"])
def test_sample_weight_trains_as_in_keras(pairs, name):
    head, labels, loss = LOSSES[name]
    weights = np.linspace(0, 3, ROWS).astype("float32")
    assert_trains_alike(
        pairs(head), labels, compiling={"loss": loss}, sample_weight=weights
    )


@pytest.mark.parametrize(
    ("head", "labels", "loss", "weights"),
    [
        ("softmax", IDS, "sparse_categorical_crossentropy", {0: 1.0, 1: 4.0, 2: 0.2}),
        ("softmax", ONE_HOT, "categorical_crossentropy", {0: 1.0, 1: 4.0, 2: 0.2}),
        ("sigmoid", BINARY, "binary_crossentropy", {0: 0.3, 1: 2.0}),
    ],
    ids=["ids", "one hot", "binary"],
)
def test_class_weight_trains_as_in_keras(pairs, head, labels, loss, weights):
    assert_trains_alike(
        pairs(head), labels, compiling={"loss": loss}, class_weight=weights
    )


def test_class_and_sample_weights_multiply(pairs):
    weights, classes = np.linspace(0, 3, ROWS).astype("float32"), [1.0, 4.0, 0.2]
    ours, theirs = pairs("softmax")
    train(
        ours, IDS, adamw, sample_weight=weights, class_weight=dict(enumerate(classes))
    )
    train(theirs, IDS, adamw, sample_weight=weights * np.array(classes)[IDS])
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: adamw(gradient_accumulation_steps=2, global_clipnorm=0.1),
        lambda: keras.optimizers.SGD(1e-2, momentum=0.9, gradient_accumulation_steps=3),
        lambda: kbert.adamw(1e-3, accumulate=2),
    ],
    ids=["AdamW", "SGD", "kbert"],
)
def test_accumulation_across_steps_equals_keras(pairs, notices, optimizer):
    pair = pairs("softmax")
    assert_trains_alike(pair, IDS, optimizer, epochs=3)
    assert notices() == []


def test_accumulated_steps_equal_one_of_the_whole_batch(pairs):
    whole, parts = pairs("softmax")[0], build_pair(HEADS["softmax"])[0]
    write_weights(parts, read_weights(whole))
    train(whole, IDS, lambda: kbert.adamw(1e-3), batch_size=8, steps_per_epoch=2)
    train(parts, IDS, lambda: kbert.adamw(1e-3, accumulate=2), steps_per_epoch=4)
    assert_same_weights(whole, parts)


# === What else a user may bring ===


@pytest.mark.parametrize("family", ["distil_bert", "roberta"])
@pytest.mark.parametrize("read", ["first", "mean"])
def test_every_family_and_pooling_trains_as_in_keras(family, read):
    inputs = build_batch(family, LENGTHS)
    pair = build_pair(HEADS["softmax"], family, read=read)
    assert_trains_alike(pair, IDS, inputs=inputs)


@pytest.mark.parametrize("num_values", [1, 200, 2**20])
def test_tokens_seen_once_go_on_moving_as_in_keras(num_values, monkeypatch):
    # AdamW decays and coasts rows of the token table that a batch does not touch; the
    # table is updated row by row, in blocks of a few rows, or at once.
    monkeypatch.setattr(optimizers, "_BLOCK_VALUES", num_values)
    pair = build_pair(HEADS["softmax"])
    inputs = {name: value.copy() for name, value in INPUTS.items()}
    inputs["token_ids"][:BATCH_SIZE] = 39
    inputs["token_ids"][BATCH_SIZE:] %= 20
    assert_trains_alike(pair, IDS, lambda: adamw(weight_decay=0.1), inputs=inputs)


def test_regularizers_of_the_head_count(pairs):
    head = dense(
        3,
        "softmax",
        kernel_regularizer=keras.regularizers.L1L2(0.05, 0.05),
        bias_regularizer="l2",
        activity_regularizer="l2",
    )
    pair = build_pair(head)
    history = assert_trains_alike(pair, IDS)
    plain = train(pairs("softmax")[0], IDS, adamw)
    assert history["loss"][0] > plain["loss"][0] + 0.05


def test_a_regularizer_inside_the_encoder_counts():
    pair = build_pair(HEADS["softmax"])
    for model in pair:
        layer = getattr(model, "backbone", model).get_layer("transformer_layer_1")
        layer._feedforward_output_dense.kernel.regularizer = keras.regularizers.L2(0.1)
    assert_trains_alike(pair, IDS)


def test_a_deep_head_with_batch_normalization_trains_as_in_keras():
    def head(features):
        x = keras.layers.Dense(8, name="one")(features)
        x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
        x = keras.layers.Activation("relu", name="relu")(x)
        return keras.layers.Dense(3, "softmax", name="head")(x)

    # A layer in front of a normalization has gradients near zero, which Adam magnifies.
    assert_trains_alike(build_pair(head), IDS, KNOWN["SGD, momentum"])


def test_several_outputs_with_weighted_losses_train_as_in_keras():
    def head(features):
        return {
            "kind": keras.layers.Dense(3, "softmax", name="kind")(features),
            "score": keras.layers.Dense(1, name="score")(features),
        }

    compiling = {
        "loss": {"kind": "sparse_categorical_crossentropy", "score": "mse"},
        "loss_weights": {"kind": 1.0, "score": 0.1},
        "metrics": {"kind": ["accuracy"], "score": ["mae"]},
    }
    labels = {"kind": IDS, "score": NUMBERS}
    assert_trains_alike(build_pair(head), labels, compiling=compiling)


def test_metrics_and_weighted_metrics_equal_keras(pairs):
    compiling = {
        "metrics": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
        "weighted_metrics": [keras.metrics.SparseCategoricalCrossentropy(name="wce")],
    }
    weights = np.linspace(0, 3, ROWS).astype("float32")
    assert_trains_alike(
        pairs("softmax"),
        IDS,
        compiling=compiling,
        sample_weight=weights,
        validation_data=(INPUTS, IDS),
        epochs=2,
    )


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"jit_compile": False}, {"auto_scale_loss": False}],
    ids=str,
)
def test_settings_of_compile_do_not_change_the_result(pairs, options):
    compiling = {"metrics": ["accuracy"]} | options
    assert_trains_alike(pairs("softmax"), IDS, compiling=compiling)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # its own
def test_jit_compile_does_not_change_the_result(pairs):
    ours, theirs = pairs("softmax")
    train(theirs, IDS, adamw)
    train(ours, IDS, adamw, compiling={"jit_compile": True})
    assert_same_weights(ours, theirs)


def test_without_a_compiler_jit_compile_is_one_line_and_changes_nothing(
    pairs, caplog, monkeypatch
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    model, _ = pairs("softmax")
    compiling = {"jit_compile": True}
    train(model, IDS, adamw, compiling=compiling, validation_data=(INPUTS, IDS))
    model.predict(INPUTS, verbose=0)
    assert caplog.text.count("and no-such-compiler was not found") == 1
    assert not model.jit_compile and model.get_compile_config()["jit_compile"] is True


def test_a_compiler_that_fails_is_one_line_too(pairs, caplog, monkeypatch):
    def fail(function):
        raise RuntimeError("fatal error: omp.h: no such file\nand much more")

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setattr(shutil, "which", lambda name: f"/not/cached/{name}")
    model, _ = pairs("softmax")
    model.compile(adamw(), "sparse_categorical_crossentropy", jit_compile=True)
    assert caplog.text.count("failed (fatal error: omp.h: no such file)") == 1
    assert not model.jit_compile


def test_a_layer_is_told_what_keras_would_tell_it():
    told = []

    class Spy(keras.layers.Layer):
        def call(self, x, training=False):
            told.append(training)
            return x

    def head(features):
        return dense(3, "softmax")(Spy(name="spy")(features))

    seen = []
    for model in build_pair(head):
        told.clear()
        train(model, IDS, adamw)
        trained = told[-ROWS // BATCH_SIZE :]
        model.predict(INPUTS, verbose=0)
        seen.append((trained, told[-1]))
    assert seen[0] == seen[1] == ([True] * (ROWS // BATCH_SIZE), False)


def test_the_dropout_of_a_head_drops():
    losses = []
    for rate in (0.0, 0.5, 0.9):
        drop = keras.layers.Dropout(rate, name="drop")
        model, _ = build_pair(lambda x, drop=drop: dense(3, "softmax")(drop(x)))
        kbert.set_seed(0)  # what is dropped, which the epoch follows
        losses += train(model, IDS, adamw)["loss"]
    assert len(set(np.round(losses, 3))) == 3


def test_a_kernel_whose_gradient_lies_otherwise_in_memory_trains_as_in_keras():
    def head(sequence):
        x = keras.layers.Conv1D(4, 3, name="convolution")(sequence)
        x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
        return dense(3, "softmax")(x)

    inputs = build_batch("distil_bert", [8] * ROWS)  # a convolution reads padding too
    pair = build_pair(head, "distil_bert", read="sequence_output")
    assert_trains_alike(pair, IDS, inputs=inputs)


def test_weights_frozen_by_a_callback_stay_and_the_others_train(pairs):
    frozen = []

    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.get_layer("head").trainable = False
                frozen.extend(read_weights(self.model).items())

    model, _ = build_pair(HEADS["softmax"])
    train(model, IDS, adamw, epochs=2, callbacks=[Freeze()])
    for path, value in read_weights(model).items():
        if not path.endswith("key/bias"):  # whose gradient is 0 but for rounding
            changed = abs(value - dict(frozen)[path]).max() > 0
            assert changed == (not path.startswith("head")), path


def test_a_partial_last_batch_and_a_batch_of_one_train_as_in_keras(pairs):
    assert_trains_alike(pairs("softmax"), IDS, batch_size=19)


def test_an_overridden_train_step_is_the_one_that_runs(pairs):
    def build(kind, model):
        class Own(kind):
            def train_step(self, data):
                x, y = data
                self.zero_grad()
                y_pred = self(x, training=True)
                loss = 0.5 * self.compute_loss(y=y, y_pred=y_pred)
                loss.backward()
                weights = self.trainable_weights
                with torch.no_grad():
                    gradients = [weight.value.grad for weight in weights]
                    self.optimizer.apply(gradients, weights)
                return {"own": loss.detach()}

        return Own(model.input, model.output)

    ours, theirs = pairs("softmax")
    both = build(kbert.Model, ours), build(keras.Model, theirs)
    history = assert_trains_alike(both, IDS)
    assert list(history) == ["own"]


def test_a_step_around_keras_own_step_trains_as_in_keras(pairs):
    def build(kind, pair):
        class Counting(kind):
            num_steps = 0

            def train_step(self, data):
                type(self).num_steps += 1
                return super().train_step(data)

        return Counting(pair.input, pair.output)

    ours, theirs = pairs("softmax")
    both = build(kbert.Model, ours), build(keras.Model, theirs)
    assert_trains_alike(both, IDS)
    assert [type(model).num_steps for model in both] == [5, 5]


def test_an_overridden_compute_loss_is_the_one_that_counts(pairs):
    def build(kind, pair):
        class Penalised(kind):
            def compute_loss(
                self, x=None, y=None, y_pred=None, sample_weight=None, training=True
            ):
                loss = super().compute_loss(x, y, y_pred, sample_weight, training)
                return loss + 0.1 * keras.ops.mean(keras.ops.square(y_pred))

        return Penalised(pair.input, pair.output)

    ours, theirs = pairs("softmax")
    both = build(kbert.Model, ours), build(keras.Model, theirs)
    assert_trains_alike(both, IDS)


def test_train_on_batch_equals_keras(pairs):
    pair = pairs("softmax")
    for model in pair:
        model.compile(adamw(), "sparse_categorical_crossentropy")
        for first in range(0, ROWS, BATCH_SIZE):
            rows = slice(first, first + BATCH_SIZE)
            batch = {name: value[rows] for name, value in INPUTS.items()}
            model.train_on_batch(batch, IDS[rows])
    assert_same_weights(*pair)


def test_evaluate_and_predict_equal_keras(pairs):
    pair = pairs("softmax")
    for model in pair:
        model.compile(adamw(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ours, theirs = (m.evaluate(INPUTS, IDS, verbose=0, return_dict=True) for m in pair)
    assert ours == pytest.approx(theirs, abs=1e-5)
    predictions = [{"out": m.predict(INPUTS, verbose=0)} for m in pair]
    assert_same_outputs(*predictions)


# === Freezing ===


@pytest.mark.parametrize(
    "layers", [["token_embedding"], ["transformer_layer_0", "embeddings_layer_norm"]]
)
def test_frozen_weights_stay_and_the_rest_train_as_in_keras(pairs, layers):
    pair = pairs("softmax")
    before = read_weights(pair[0])
    try:
        for model in pair:
            for name in layers:
                getattr(model, "backbone", model).get_layer(name).trainable = False
        assert_trains_alike(pair, IDS)
        after = read_weights(pair[0])
        for path, value in before.items():
            frozen = path.split("/")[0] in layers
            assert np.array_equal(value, after[path]) == frozen, path
    finally:
        for model in pair:
            for name in layers:
                getattr(model, "backbone", model).get_layer(name).trainable = True


def test_a_frozen_encoder_trains_its_head_as_in_keras(pairs):
    pair = pairs("softmax")
    before = read_weights(pair[0])
    encoders = [m for m in pair[0].layers if isinstance(m, keras.Model)]
    try:
        encoders[0].trainable = False
        for layer in pair[1].layers[:-1]:
            layer.trainable = False
        assert_trains_alike(pair, IDS, epochs=2)
        after = read_weights(pair[0])
        changed = {k for k in before if not np.array_equal(before[k], after[k])}
        assert changed == {"head/kernel", "head/bias"}
    finally:
        encoders[0].trainable = True
        for layer in pair[1].layers:
            layer.trainable = True


def test_an_encoder_unfrozen_between_two_fits_trains_in_the_second(pairs):
    pair = pairs("softmax")
    for model in pair:
        encoder = model.layers[:-1]
        for layer in encoder:
            layer.trainable = False
        train(model, IDS, adamw)
        for layer in encoder:
            layer.trainable = True
    assert_trains_alike(pair, IDS)


def test_fused_weights_follow_a_learning_rate_set_by_a_callback(pairs):
    pair = pairs("softmax")
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: [1e-3, 1e-5][epoch])
    assert_trains_alike(pair, IDS, epochs=2, callbacks=[rates])


def test_going_on_with_fit_goes_on_with_the_optimizer(pairs):
    pair = pairs("softmax")
    for model in pair:
        train(model, IDS, adamw)
        model.fit(INPUTS, IDS, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    assert int(pair[0].optimizer.iterations) == 10
    assert_same_weights(*pair)


def test_predicting_between_two_fits_changes_nothing(pairs):
    pair = pairs("softmax")
    for model in pair:
        model.predict(INPUTS, verbose=0)
        train(model, IDS, adamw, validation_data=(INPUTS, IDS), epochs=2)
        model.predict(INPUTS, verbose=0)
        model.fit(INPUTS, IDS, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    assert_same_weights(*pair)
    ours, theirs = (model.predict(INPUTS, verbose=0) for model in pair)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def build_siamese(on_engine):
    """Compare two texts through one encoder."""
    backbone = build_backbone(dropout=0.0)
    texts = [
        {name: keras.Input((None,), dtype="int32", name=f"{name}_{index}")
         for name in backbone.input}
        for index in range(2)
    ]  # fmt: skip
    encoder = backbone if on_engine else keras.Model(backbone.input, backbone.output)
    one, two = (encoder(text)["pooled_output"] for text in texts)
    score = keras.layers.Dense(1, "sigmoid", name="head")(one * two)
    kind = kbert.Model if on_engine else keras.Model
    return kind(texts, score)


def test_one_encoder_of_two_texts_trains_as_in_keras():
    pair = build_siamese(True), build_siamese(False)
    randomise(pair[0])
    copy_weights(*pair)
    inputs = [INPUTS, build_batch("bert", LENGTHS[::-1], seed=5)]
    assert_trains_alike(
        pair, BINARY, inputs=inputs, compiling={"loss": "binary_crossentropy"}
    )


# === Seeds ===


def train_with_dropout(seed):
    model = tiny.build_model(seed=seed, dropout=0.2)
    texts, labels = tiny.write_texts(40)
    history = model.fit(texts, labels, epochs=2, batch_size=8, verbose=0).history
    return tiny.read_weights(model), history["loss"]


def test_two_runs_with_dropout_are_bit_identical():
    (one, first), (two, second), (other, _) = map(train_with_dropout, (3, 3, 4))
    assert first == second
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_step_of_an_epoch_draws_other_masks(monkeypatch):
    drawn, draw = [], Dropout.draw

    def keep(self, shape, dtype):
        drawn.append(draw(self, shape, dtype))
        return drawn[-1]

    monkeypatch.setattr(Dropout, "draw", keep)
    model = tiny.build_model(dropout=0.5)
    model.fit(["the film is good"] * 6, [1] * 6, batch_size=2, epochs=2, verbose=0)
    first = [mask for mask in drawn if mask.shape == drawn[0].shape]
    steps = first[:: len(first) // 6]
    assert len(steps) == 6
    for index, one in enumerate(steps):
        assert not any(torch.equal(one, two) for two in steps[:index])
