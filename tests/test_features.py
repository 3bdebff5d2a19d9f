"""A frozen encoder runs once, and the head learns what it learns without that."""

import keras
import numpy as np
import pytest
import tiny

import kbert
from kbert.engine import features
from kbert.engine.backbone import Backbone

TEXTS, LABELS = tiny.write_texts(48, seed=3)
NUM_EPOCHS = 3


class Own(kbert.Model):
    """A user's subclass, which kbert must not cut."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask)


class OwnStep(kbert.Model):
    """A user's step that reads the model's own inputs."""

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        assert x["token_ids"].ndim == 2
        return super().train_step(data)


def build_frozen(kind=kbert.Model, connect=None):
    """Return a compiled model whose encoder is frozen."""
    kbert.set_seed(0)
    preset = tiny.build_preset(dropout=0.0)
    backbone = kbert.load_backbone(preset, precision="float32")
    kbert.freeze(backbone)
    outputs = backbone(backbone.input)
    if connect is None:
        vector = outputs["pooled_output"]
    else:
        vector = connect(outputs["sequence_output"])
    penalties = {"kernel_regularizer": "l2", "activity_regularizer": "l2"}
    dense = keras.layers.Dense(2, activation="softmax", name="head", **penalties)
    model = kind(backbone.input, dense(vector))
    model.preprocessor = kbert.Preprocessor(preset.tokenizer, max_length=24)
    model.compile(kbert.adamw(1e-2), "sparse_categorical_crossentropy")
    return model


@pytest.fixture
def count_passes(monkeypatch):
    """Count the rows that an encoder encodes."""
    encode, rows = Backbone.encode, []

    def count(self, inputs, **options):
        rows.append(len(inputs["token_ids"]))
        return encode(self, inputs, **options)

    monkeypatch.setattr(Backbone, "encode", count)
    return rows


def fit(model, x, y=LABELS, **options):
    arguments = {"epochs": NUM_EPOCHS, "batch_size": 8, "verbose": 0} | options
    return model.fit(x, y, shuffle=False, **arguments)


def tokenize(model):
    return {k: np.asarray(v) for k, v in model.preprocessor(TEXTS).items()}


@pytest.mark.parametrize("form", ["texts", "arrays"])
def test_a_frozen_encoder_encodes_each_row_once(form, count_passes):
    model = build_frozen()
    x = TEXTS if form == "texts" else tokenize(model)
    validation = (x, LABELS) if form == "texts" else ({**x}, LABELS)
    fit(model, x, validation_data=validation)
    assert sum(count_passes) == 2 * len(TEXTS)
    kbert.unfreeze(model)
    model.compile(kbert.adamw(1e-3), "sparse_categorical_crossentropy")
    count_passes.clear()
    fit(model, x)
    assert sum(count_passes) == NUM_EPOCHS * len(TEXTS)


@pytest.mark.parametrize("form", ["texts", "arrays"])
def test_the_head_learns_the_same_without_features(form, count_passes):
    heads, losses = [], []
    for kind in (kbert.Model, Own):
        model = build_frozen(kind)
        count_passes.clear()
        history = fit(model, TEXTS if form == "texts" else tokenize(model)).history
        heads.append([np.array(w) for w in model.get_layer("head").get_weights()])
        passes = 1 if kind is kbert.Model else NUM_EPOCHS
        assert sum(count_passes) == passes * len(TEXTS)
        assert history["loss"][-1] < history["loss"][0]
        losses.append(history["loss"])
    assert tiny.largest_difference(*heads) < 1e-5
    np.testing.assert_allclose(*losses, rtol=1e-5)  # with the head's penalties


class OwnMetrics(kbert.Model):
    """A user's metrics that read the model's own inputs."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        assert x["padding_mask"].ndim == 2
        return super().compute_metrics(x, y, y_pred, sample_weight)


@pytest.mark.parametrize("kind", [OwnStep, OwnMetrics])
def test_a_step_of_the_users_own_gets_the_models_inputs(kind, count_passes):
    fit(build_frozen(kind), TEXTS)
    assert sum(count_passes) == NUM_EPOCHS * len(TEXTS)


def pool_by_attention(sequence):
    scores = keras.layers.Dense(1, name="scores")(sequence)
    weights = keras.layers.Softmax()(keras.layers.Flatten()(scores))
    return keras.layers.Dot(axes=1)([weights, sequence])


def pool_with_noise(sequence):
    noise = keras.layers.GaussianNoise(0.1)(sequence)
    return keras.layers.Dot(axes=1)([noise[:, :, 0], sequence])


def test_what_trains_before_the_vector_trains(count_passes):
    model = build_frozen(connect=pool_by_attention)
    before = np.array(model.get_layer("scores").get_weights()[0])
    fit(model, TEXTS, batch_size=48)  # one length, so that padding weighs the same
    after = np.array(model.get_layer("scores").get_weights()[0])
    assert np.abs(after - before).max() > 1e-3
    assert sum(count_passes) == NUM_EPOCHS * len(TEXTS)


def test_what_draws_before_the_vector_is_no_feature():
    model = build_frozen(connect=pool_with_noise)
    assert features.split_at_features(model, kbert.Model) is None


def test_features_over_the_budget_go_to_a_file_and_train_the_same(monkeypatch):
    heads, kinds = [], []
    collect = features.collect_features

    def note(*arguments):
        found = collect(*arguments)
        kinds.append(type(found))
        return found

    monkeypatch.setattr("kbert.text_model.collect_features", note)
    for budget in (features.MEMORY_BUDGET_BYTES, 0):
        monkeypatch.setattr(features, "MEMORY_BUDGET_BYTES", budget)
        model = build_frozen()
        fit(model, TEXTS)
        heads.append([np.array(w) for w in model.get_layer("head").get_weights()])
    assert kinds == [np.ndarray, np.memmap]
    tiny.assert_same_weights(*heads)


@pytest.mark.parametrize("what", ["weights", "dropout"])
def test_unfreezing_in_the_middle_is_one_sentence(what):
    model = build_frozen()

    def unfreeze(epoch, logs):
        if what == "weights":
            kbert.unfreeze(model)
        else:
            model.backbone.frozen_dropout = True

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=unfreeze)
    with pytest.raises(RuntimeError, match="unfrozen while fit trains the head"):
        fit(model, TEXTS, callbacks=[callback])


def test_a_loader_runs_the_encoder_every_epoch_and_it_is_said(count_passes, caplog):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, place):
            return TEXTS[place * 24 : place * 24 + 24], LABELS[place * 24 :][:24]

    model = build_frozen()
    model.fit(Batches(), epochs=2, verbose=0)
    assert sum(count_passes) == 2 * len(TEXTS)
    assert caplog.text.count("runs in every epoch all the same") == 1
