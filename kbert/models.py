"""Backbones with weights, heads on them, and models read back from files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import torch
from keras import ops

from kbert.engine.backbone import Backbone
from kbert.engine.config import EncoderConfig
from kbert.engine.layers import awaiting_weights, build_initializer
from kbert.engine.lean import without_tensorflow
from kbert.engine.precision import Precision
from kbert.engine.windows import SplitWindows, WindowPooling, add_windows
from kbert.long_texts import LongText
from kbert.model_file import check_model_file
from kbert.presets import Preset, PresetError, load_preset
from kbert.text import Preprocessor
from kbert.text_model import Model
from kbert.token_heads import EntityF1, SpanAccuracy, SpanScores, WordAccuracy

__all__ = ["Backbone", "Model", "build_classifier", "load_backbone", "load_model"]

Pooling = Literal["pooler", "cls", "mean"]
_MLP_UNITS = 512
_OUTPUTS = {"softmax": "probabilities", "sigmoid": "probabilities", "linear": "score"}
# Keras finds in files only what has been imported.
_IN_FILES = (EntityF1, SpanAccuracy, SpanScores, WordAccuracy)
MODEL_FILE = "model.keras"  # of a run folder


def load_backbone(
    preset: str | os.PathLike | Preset,
    *,
    precision: Precision = "auto",
    load_weights: bool = True,
) -> Backbone:
    """Load an encoder.

    Args:
        preset: see `kbert.load_preset`.
        precision: format of the matrix products; see `Backbone`.
        load_weights: `False` leaves the weights random.

    Returns:
        A functional `keras.Model` with KerasHub's inputs, outputs and weights.

    Raises:
        PresetError: the preset is unknown, unreachable or damaged.
        ValueError: the device has no such precision.
    """
    preset = load_preset(preset)
    if load_weights:
        return build_backbone(preset.config, preset.read_weight, preset.name, precision)
    backbone = Backbone(preset.config, precision=precision)
    _ = backbone.compute_precision  # refuses here what would fail in training
    return backbone


def build_backbone(
    config: EncoderConfig,
    read_weight: Callable[[str], np.ndarray | None],
    name: str,
    precision: Precision = "auto",
) -> Backbone:
    """Build an encoder of known weights; a pooler without any is random.

    Args:
        config: shape of the encoder.
        read_weight: from a variable's path to its values, or `None` where there are
            none; asked for one at a time, so that no second copy of all is held.
        name: of the preset, for the message.
        precision: see `load_backbone`.

    Raises:
        PresetError: a weight is missing.
    """
    with awaiting_weights():
        backbone = Backbone(config, precision=precision)
    _ = backbone.compute_precision  # refuses here what would fail in training
    for variable in backbone.weights:
        value = read_weight(variable.path)
        if value is not None:
            variable.assign(torch.from_numpy(value))  # Keras copies arrays of numpy
        elif variable.path == "pooled_dense/kernel":
            variable.assign(backbone.pooled_dense.kernel_initializer(variable.shape))
        elif variable.path != "pooled_dense/bias":
            raise PresetError(
                f"preset {name!r} has no weight {variable.path!r}; "
                "its files are incomplete."
            )
    return backbone


def build_classifier(
    preset: str | os.PathLike | Preset,
    label_names: Sequence[str] | None = None,
    *,
    num_classes: int | None = None,
    head: str | keras.layers.Layer | Callable = "linear",
    activation: Literal["softmax", "sigmoid", "linear"] = "softmax",
    dropout: float = 0.1,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    clean: str | Sequence | None = None,
    long_text: LongText = "truncate",
    window_overlap: int | None = None,
    max_windows: int | None = None,
    window_pooling: Literal["mean", "max"] = "mean",
    precision: Precision = "auto",
    load_weights: bool = True,
) -> Model:
    """Put a classification head on an encoder.

    Args:
        preset: see `kbert.load_preset`.
        label_names: names of the label ids, in their order.
        num_classes: number of classes, when they have no names; 1 only where they do
            not exclude each other.
        head: `linear` (dropout, dense), `mlp` (dense 512, ReLU, dropout, dense), both
            ending in `activation`; or a layer or function from features (batch,
            hidden_dim) to outputs (batch, num_classes).
        activation: of a named head: `softmax` for classes that exclude each other,
            `sigmoid` for independent labels, both trained from their logits, or
            `linear` for scores.
        dropout: share of values dropped in a named head, in [0, 1).
        pooling: `pooler`, `cls` (first token) or `mean` (over tokens) makes one vector
            of a text; `None` is what the preset was trained for.
        max_length: longest text, in tokens; `None` is the encoder's longest.
        clean: done to every text first; see `kbert.Preprocessor`.
        long_text: `truncate` longer texts, keep `head-tail` of them, or read them in
            overlapping `windows` whose logits are pooled, in training and in
            prediction; see `kbert.Preprocessor`, also for the next two.
        window_overlap: tokens that two neighbouring windows share.
        max_windows: most windows a text. A step of training holds no more than
            `batch_size` times so many.
        window_pooling: `mean` or `max` of a logit over the windows of a text.
        precision: format of the matrix products; see `Backbone`.
        load_weights: `False` leaves the encoder's weights random.

    Returns:
        A model of raw texts, not compiled.

    Raises:
        PresetError: the preset is unknown, unreachable or damaged.
        ValueError: classes, head, pooling or length do not fit; the sentence says how.
    """
    preset = load_preset(preset)
    _check_head(head, activation)
    least = 2 if activation == "softmax" and not callable(head) else 1
    num_classes = _count_classes(label_names, num_classes, least)
    preprocessor = Preprocessor(
        preset.tokenizer,
        max_length=check_length(max_length, preset.config.max_sequence_length),
        input_names=preset.config.input_names,
        clean=clean,
        long_text=long_text,
        window_overlap=window_overlap,
        max_windows=max_windows,
    )
    backbone = load_backbone(preset, precision=precision, load_weights=load_weights)
    inputs = rows = backbone.input
    join = None
    if preprocessor.windows is None and window_pooling != "mean":
        raise ValueError(
            "window_pooling is for long_text='windows'; received "
            f"long_text={long_text!r}. Leave it out or change it."
        )
    if preprocessor.windows is not None:
        inputs = add_windows(backbone.input)
        rows = SplitWindows(name="split_windows")(inputs)
        join = _join_windows(head, window_pooling, inputs)
    features = pool(backbone, pooling or preset.pooling, rows)
    outputs = (
        head(features)
        if callable(head)
        else _build_head(head, activation, features, num_classes, dropout, join)
    )
    if outputs.shape[-1] != num_classes:
        raise ValueError(
            f"the head must give {num_classes} values a text, one a class; "
            f"it gives the shape {outputs.shape}."
        )
    model = Model(inputs, outputs, name="classifier")
    model.label_names = tuple(map(str, label_names)) if label_names else None
    model.preprocessor = preprocessor
    return model


@keras.saving.register_keras_serializable(package="kbert")
class MeanPooling(keras.layers.Layer):
    """The mean of a text's token vectors, padding left out."""

    ignores_padding = True  # so a batch may have any number of columns

    def call(self, sequence_output, padding_mask):
        """Average (batch, length, hidden_dim) to (batch, hidden_dim)."""
        weights = ops.cast(ops.expand_dims(padding_mask, -1), sequence_output.dtype)
        total = ops.sum(sequence_output * weights, axis=1)
        return total / ops.sum(weights, axis=1)

    def compute_output_shape(self, sequence_output_shape, padding_mask_shape):
        """Return (batch, hidden_dim)."""
        return (sequence_output_shape[0], sequence_output_shape[2])


def _count_classes(label_names, num_classes: int | None, least: int) -> int:
    if label_names is None and num_classes is None:
        raise ValueError("pass label_names or num_classes; received neither.")
    count = len(label_names) if label_names is not None else num_classes or 0
    if num_classes is not None and count != num_classes:
        raise ValueError(
            f"label_names has {count} names and num_classes is {num_classes}; "
            "pass one of them."
        )
    for name in label_names or ():
        if list(label_names).count(name) > 1:
            raise ValueError(
                f"label_names has {name!r} twice; give every class its own."
            )
    if count < least:
        raise ValueError(
            f"a classifier needs at least {least} classes; received {count}."
        )
    return count


def check_length(max_length: int | None, longest: int) -> int:
    if max_length is not None and max_length > longest:
        raise ValueError(
            f"max_length must be at most {longest}, the encoder's longest text in "
            f"tokens; received {max_length}."
        )
    return longest if max_length is None else max_length


def pool(backbone: Backbone, pooling: str, inputs: dict | None = None):
    """Return what a head reads of an encoder.

    Args:
        backbone: the encoder.
        pooling: `pooler`, `cls` or `mean` for a vector a text, `tokens` for all.
        inputs: Keras tensors by input name; `None`: the encoder's own.

    Returns:
        Keras tensor (batch, hidden_dim), or (batch, length, hidden_dim).

    Raises:
        ValueError: the encoder has no such output.
    """
    inputs = inputs or backbone.input
    outputs = backbone(inputs)
    has_pooler = backbone.config.has_pooler
    sequence = outputs["sequence_output"] if has_pooler else outputs
    if pooling == "tokens":
        return sequence
    if pooling == "pooler" and has_pooler:
        return outputs["pooled_output"]
    if pooling == "cls":
        return sequence[:, 0, :]
    if pooling == "mean":
        return MeanPooling(name="mean")(sequence, inputs["padding_mask"])
    offered = "'pooler', 'cls' or 'mean'" if has_pooler else "'cls' or 'mean'"
    raise ValueError(
        f"pooling must be {offered} for a {backbone.config.family} encoder; "
        f"received {pooling!r}."
    )


def _join_windows(head, mode, inputs: dict) -> Callable:
    """Return what makes logits a text of logits a window."""
    if callable(head):
        raise ValueError(
            "long_text='windows' pools logits, which a head of your own does not show. "
            "Choose head='linear' or 'mlp', or connect kbert.engine.windows yourself."
        )
    join = WindowPooling(mode, name="window_pooling")
    return lambda logits: join(logits, inputs["padding_mask"])


def _check_head(head, activation) -> None:
    if not callable(head) and head not in ("linear", "mlp"):
        raise ValueError(
            "head must be 'linear', 'mlp', a layer or a function of the features; "
            f"received {head!r}."
        )
    if activation not in _OUTPUTS:
        raise ValueError(
            f"activation must be one of {', '.join(map(repr, _OUTPUTS))}; received "
            f"{activation!r}."
        )
    if callable(head) and activation != "softmax":
        raise ValueError(
            "activation is for head='linear' or 'mlp'; a head of your own has one in "
            f"itself. Leave it out; received {activation!r}."
        )


def _build_head(head, activation, features, num_classes: int, dropout: float, join):
    """Connect a named head; `join` makes one row a text of its logits."""
    if head == "mlp":
        features = keras.layers.Dense(
            _MLP_UNITS, activation="relu", name="head_hidden"
        )(features)
    features = keras.layers.Dropout(dropout, name="head_dropout")(features)
    dense = keras.layers.Dense(
        num_classes,
        activation=None if join else activation,
        kernel_initializer=build_initializer(),
        name="logits" if join and activation != "linear" else _OUTPUTS[activation],
    )
    outputs = dense(features)
    if join is None:
        return outputs
    outputs = join(outputs)
    if activation == "softmax":
        return keras.layers.Softmax(name="probabilities")(outputs)
    if activation == "sigmoid":
        return keras.layers.Activation("sigmoid", name="probabilities")(outputs)
    return outputs


def load_model(
    path: str | os.PathLike, *, compile: bool = True, precision: Precision = "auto"
) -> Model:
    """Load a model that `Model.save`, `kbert.export` or transformers wrote.

    Args:
        path: a `.keras` file, a run folder with a `model.keras` in it, or a folder
            that transformers loads with a head: sequence or token classification, or
            question answering, with its tokenizer and weights as safetensors.
        compile: whether to restore a `.keras` file's optimizer, loss and metrics too.
        precision: format of the matrix products of a model that transformers wrote; a
            `.keras` file has its own.

    Returns:
        The model, its text handling included. No code from the file is run.

    Raises:
        FileNotFoundError: there is no such file, or no model in the folder.
        PresetError: a folder's files are incomplete, damaged or of another kind.
        ValueError: the file is damaged, of a newer kbert, or not a kbert model.
    """
    path = Path(path)
    if path.is_dir() and not (path / MODEL_FILE).exists():
        from kbert.checkpoints import load_checkpoint

        return load_checkpoint(path, precision=precision)
    path = path / MODEL_FILE if path.is_dir() else path
    check_model_file(path)
    try:
        with without_tensorflow(), awaiting_weights():
            model = keras.saving.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:  # Keras raises whatever broke first
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path} cannot be loaded: {reason[0][:200]} Save the model again, or "
            "load it with the version that wrote it."
        ) from error
    if not isinstance(model, Model):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, not a kbert model. "
            "Load it with keras.saving.load_model."
        )
    return model
