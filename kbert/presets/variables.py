"""Variables of an encoder: their paths and shapes, as KerasHub's backbones have them.

The paths are `variable.path` of KerasHub's `BertBackbone`, `DistilBertBackbone` and
`RobertaBackbone`, in that order of `weights`; h is `hidden_dim`, v the vocabulary, p
`max_sequence_length`, a `num_heads`, d `h / a` and i `intermediate_dim`.

BERT::

    token_embedding/embeddings                                      (v, h)
    position_embedding/embeddings                                   (p, h)
    segment_embedding/embeddings                                    (num_segments, h)

DistilBERT::

    token_and_position_embedding/token_embedding/embeddings         (v, h)
    token_and_position_embedding/position_embedding/embeddings      (p, h)

RoBERTa::

    embeddings/token_embedding/embeddings                           (v, h)
    embeddings/position_embedding/embeddings                        (p, h)

All of them, N from 0 to `num_layers` - 1::

    embeddings_layer_norm/gamma, beta                               (h,)
    transformer_layer_N/self_attention_layer/query/kernel           (h, a, d)
    transformer_layer_N/self_attention_layer/query/bias             (a, d)
    transformer_layer_N/self_attention_layer/key/kernel, bias       as query
    transformer_layer_N/self_attention_layer/value/kernel, bias     as query
    transformer_layer_N/self_attention_layer/attention_output/kernel  (a, d, h)
    transformer_layer_N/self_attention_layer/attention_output/bias  (h,)
    transformer_layer_N/self_attention_layer_norm/gamma, beta       (h,)
    transformer_layer_N/feedforward_layer_norm/gamma, beta          (h,)
    transformer_layer_N/feedforward_intermediate_dense/kernel       (h, i)
    transformer_layer_N/feedforward_intermediate_dense/bias         (i,)
    transformer_layer_N/feedforward_output_dense/kernel             (i, h)
    transformer_layer_N/feedforward_output_dense/bias               (h,)

BERT again::

    pooled_dense/kernel                                             (h, h)
    pooled_dense/bias                                               (h,)
"""

import math
from collections.abc import Mapping
from pathlib import Path

from kbert.engine.config import EncoderConfig
from kbert.presets.arrays import StoredArray
from kbert.presets.errors import PresetError

POOLER = ("pooled_dense/kernel", "pooled_dense/bias")

EMBEDDINGS = {  # what stands before token_embedding and position_embedding
    "bert": "",
    "distil_bert": "token_and_position_embedding/",
    "roberta": "embeddings/",
}

Shapes = dict[str, tuple[int, ...]]


def variable_shapes(config: EncoderConfig) -> Shapes:
    """List the variables of an encoder.

    Args:
        config: shape of the encoder.

    Returns:
        Shapes by variable path, in KerasHub's order of `backbone.weights`.
    """
    hidden = config.hidden_dim
    prefix = EMBEDDINGS[config.family]
    shapes: Shapes = {
        f"{prefix}token_embedding/embeddings": (config.vocabulary_size, hidden),
        f"{prefix}position_embedding/embeddings": (config.max_sequence_length, hidden),
    }
    if config.family == "bert":
        shapes["segment_embedding/embeddings"] = (config.num_segments, hidden)
    shapes |= _norm_shapes("embeddings_layer_norm", hidden)
    for index in range(config.num_layers):
        shapes |= _layer_shapes(config, f"transformer_layer_{index}")
    if config.has_pooler:
        shapes |= _dense_shapes("pooled_dense", (hidden, hidden), (hidden,))
    return shapes


def _layer_shapes(config: EncoderConfig, layer: str) -> Shapes:
    hidden, inner = config.hidden_dim, config.intermediate_dim
    heads = (config.num_heads, hidden // config.num_heads)
    attention = f"{layer}/self_attention_layer"
    shapes: Shapes = {}
    for name in ("query", "key", "value"):
        shapes |= _dense_shapes(f"{attention}/{name}", (hidden, *heads), heads)
    shapes |= _dense_shapes(
        f"{attention}/attention_output", (*heads, hidden), (hidden,)
    )
    shapes |= _norm_shapes(f"{layer}/self_attention_layer_norm", hidden)
    shapes |= _norm_shapes(f"{layer}/feedforward_layer_norm", hidden)
    shapes |= _dense_shapes(
        f"{layer}/feedforward_intermediate_dense", (hidden, inner), (inner,)
    )
    shapes |= _dense_shapes(
        f"{layer}/feedforward_output_dense", (inner, hidden), (hidden,)
    )
    return shapes


def _dense_shapes(path: str, kernel: tuple[int, ...], bias: tuple[int, ...]) -> Shapes:
    return {f"{path}/kernel": kernel, f"{path}/bias": bias}


def _norm_shapes(path: str, hidden: int) -> Shapes:
    return {f"{path}/gamma": (hidden,), f"{path}/beta": (hidden,)}


def count_parameters(config: EncoderConfig) -> int:
    """Count the weights of an encoder, as KerasHub counts them.

    DistilBERT and RoBERTa have no pooler, and RoBERTa neither a segment table nor the
    two position rows that Hugging Face's table begins with.

    Args:
        config: shape of the encoder.

    Returns:
        Number of weights; 109,482,240 for BERT-base uncased.
    """
    return sum(math.prod(shape) for shape in variable_shapes(config).values())


def check_variables(
    found: Mapping[str, StoredArray], config: EncoderConfig, folder: Path
) -> dict[str, StoredArray]:
    """Check that a checkpoint has the weights its configuration promises.

    Args:
        found: arrays by variable path.
        config: what the checkpoint says it is.
        folder: where it lies, for the message.

    Returns:
        The arrays in KerasHub's order, without the pooler where there is none.

    Raises:
        PresetError: a weight is missing, has another shape or holds no floats.
    """
    shapes = variable_shapes(config)
    if not any(path in found for path in POOLER):
        shapes = {path: shapes[path] for path in shapes if path not in POOLER}
    missing = [path for path in shapes if path not in found]
    if missing:
        raise PresetError(
            f"{folder} lacks {len(missing)} of {len(shapes)} weights, the first is "
            f"{missing[0]!r}; take a complete {config.family} checkpoint."
        )
    for path, shape in shapes.items():
        _check_variable(path, found[path], shape, folder)
    return {path: found[path] for path in shapes}


def _check_variable(
    path: str, array: StoredArray, shape: tuple[int, ...], folder: Path
) -> None:
    if array.shape != shape:
        raise PresetError(
            f"{folder}: weight {path!r} has shape {array.shape}, but config.json "
            f"asks for {shape}; take both from one checkpoint."
        )
    if not array.is_float:
        raise PresetError(
            f"{folder}: weight {path!r} is quantized or not a float; take the float32, "
            "float16 or bfloat16 checkpoint."
        )
