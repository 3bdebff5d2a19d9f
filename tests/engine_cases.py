"""Small encoders, ragged batches, and Keras's own layers to compare the engine with."""

import warnings

import keras
import numpy as np
import tiny  # noqa: F401  one thread, which is faster on matrices of this size
import torch

import kbert
from kbert.engine.backbone import Backbone
from kbert.engine.config import EncoderConfig

FAMILIES = ("bert", "distil_bert", "roberta")
# What KerasHub fixes by family.
KERAS_HUB = {
    "bert": {"activation": "gelu_approximate", "layer_norm_epsilon": 1e-12},
    "distil_bert": {"activation": "gelu", "layer_norm_epsilon": 1e-12},
    "roberta": {"activation": "gelu", "layer_norm_epsilon": 1e-5},
}
VOCABULARY_SIZE = 40


def build_backbone(family="bert", *, seed=0, precision="float32", **changes):
    """Return an encoder of two layers, 16 wide, with random weights."""
    shape = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    shape |= {"vocabulary_size": VOCABULARY_SIZE, "max_sequence_length": 32}
    config = EncoderConfig(family=family, **(shape | KERAS_HUB[family] | changes))
    backbone = Backbone(config, precision=precision)
    randomise(backbone, seed)
    return backbone


def randomise(model, seed=0):
    """Give every weight, biases and norms too, a value that matters."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        width = variable.shape[-1] if len(variable.shape) < 2 else variable.shape[0]
        scale = 0.3 if len(variable.shape) < 2 else min(0.5, width**-0.5)
        value = generator.normal(0, scale, variable.shape)
        variable.assign(value + variable.path.endswith("gamma"))


def build_batch(family, lengths, *, num_columns=None, seed=0, first_id=0):
    """Return inputs with rows of these lengths, and random ids behind them."""
    generator = np.random.default_rng(seed)
    shape = (len(lengths), num_columns or max(lengths))
    mask = np.arange(shape[1]) < np.asarray(lengths)[:, None]
    ids = generator.integers(first_id, VOCABULARY_SIZE, shape)
    inputs = {"token_ids": ids, "padding_mask": mask}
    if family == "bert":
        inputs["segment_ids"] = generator.integers(0, 2, shape)
    return {name: value.astype("int32") for name, value in inputs.items()}


def run_keras_layers(backbone, inputs):
    """Run the encoder's layers as Keras does, padding and all."""
    with warnings.catch_warnings():
        # A batch of one column: Keras doubts that anybody means a softmax over it.
        warnings.filterwarnings("ignore", "(?s).*softmax over axis", UserWarning)
        return name_outputs(super(Backbone, backbone).call(inputs))


def run_packed(backbone, inputs):
    """Run the encoder as users do."""
    return name_outputs(backbone(inputs))


def name_outputs(outputs):
    return outputs if isinstance(outputs, dict) else {"sequence_output": outputs}


def to_tensors(inputs):
    return {name: torch.as_tensor(value) for name, value in inputs.items()}


def blank_padding(outputs, padding_mask):
    """Return the outputs with zeros where there is no token."""
    mask = torch.as_tensor(padding_mask != 0)[..., None]
    return {
        name: output * mask if output.ndim == 3 else output
        for name, output in outputs.items()
    }


def draw_probe(shape, seed):
    """Return the gradient that a loss would send into an output."""
    generator = np.random.default_rng(seed)
    return torch.as_tensor(generator.normal(0, 1, tuple(shape)).astype("float32"))


def differentiate(backbone, outputs, seed=7):
    """Return gradients by path of a random linear probe of all outputs."""
    loss = sum(
        (outputs[name] * draw_probe(outputs[name].shape, seed)).sum()
        for name in sorted(outputs)
    )
    values = [variable.value for variable in backbone.weights]
    gradients = torch.autograd.grad(loss, values, allow_unused=True)
    return {
        variable.path: (torch.zeros_like(value) if gradient is None else gradient)
        .to_dense()
        .numpy()
        for variable, value, gradient in zip(
            backbone.weights, values, gradients, strict=True
        )
    }


def compute(backbone, inputs, run=run_packed, reads=None, seed=7):
    """Return outputs, zero at padding, and gradients through those in `reads`."""
    outputs = blank_padding(run(backbone, inputs), inputs["padding_mask"])
    if reads is not None:
        outputs = {name: outputs[name] for name in reads}
    gradients = differentiate(backbone, outputs, seed)
    return {name: value.detach().numpy() for name, value in outputs.items()}, gradients


def assert_same_outputs(ours, theirs, tolerance=1e-5):
    assert ours.keys() == theirs.keys()
    for name, output in ours.items():
        np.testing.assert_allclose(
            output, theirs[name], rtol=0, atol=tolerance, err_msg=name
        )


def assert_same_gradients(ours, theirs, tolerance=1e-4):
    """Compare each weight's gradient, relative to its norm.

    Some gradients are zero but for rounding (the key's bias shifts all scores of a
    query alike), so that a share of the norm over all weights is a norm's floor.
    """
    assert ours.keys() == theirs.keys()
    overall = np.sqrt(sum(np.square(value).sum() for value in theirs.values()))
    for path, gradient in theirs.items():
        norm = max(np.linalg.norm(gradient), 1e-2 * overall)
        difference = np.linalg.norm(ours[path] - gradient)
        assert difference <= tolerance * norm, (path, difference / norm)


def assert_same(ours, theirs):
    """Compare what `compute` returned, by the contract for float32."""
    assert_same_outputs(ours[0], theirs[0])
    assert_same_gradients(ours[1], theirs[1])


# === Models with a head: on the engine, and on the same Keras layers without it ===


def build_pair(build_head, family="bert", *, read="pooled_output", seed=0, **changes):
    """Return a `kbert.Model` and a plain `keras.Model` of the same graph and weights.

    Args:
        build_head: function from features to outputs; its layers must be named.
        family: of the encoder.
        read: `pooled_output`, or `first` or `mean` of the tokens.
        seed: of the weights.
        **changes: of the encoder's shape.
    """
    pair = []
    for on_engine in (True, False):
        backbone = build_backbone(family, dropout=0.0, **changes)
        outputs = backbone(backbone.input) if on_engine else backbone.output
        features = _read(name_outputs(outputs), backbone.input, read)
        kind = kbert.Model if on_engine else keras.Model
        pair.append(kind(backbone.input, build_head(features)))
    randomise(pair[0], seed)
    copy_weights(*pair)
    return pair


def _read(outputs, inputs, read):
    if read in outputs:
        return outputs[read]
    sequence = outputs["sequence_output"]
    if read == "first":
        return sequence[:, 0, :]
    mask = keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
    return keras.ops.sum(sequence * mask, 1) / keras.ops.sum(mask, 1)


def read_weights(model):
    """Return copies of all weights, by path."""
    return {v.path: v.value.detach().numpy().copy() for v in model.weights}


def write_weights(model, values):
    for variable in model.weights:
        variable.assign(values[variable.path])


def copy_weights(source, target):
    write_weights(target, read_weights(source))


def assert_same_weights(one, other, tolerance=1e-5):
    """Compare two trained models weight by weight.

    The key's bias has a gradient of zero but for rounding, of which Adam makes steps
    of any size; it changes no output.
    """
    one, other = (x if isinstance(x, dict) else read_weights(x) for x in (one, other))
    assert one.keys() == other.keys()
    for path, value in one.items():
        if path.endswith("key/bias"):
            continue
        np.testing.assert_allclose(
            value, other[path], rtol=0, atol=tolerance, err_msg=path
        )
