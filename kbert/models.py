"""Backbones with weights, heads on them, and models read back from files."""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
from keras import ops

from kbert.engine.backbone import Backbone
from kbert.engine.layers import build_initializer
from kbert.engine.lean import without_tensorflow
from kbert.engine.precision import Precision
from kbert.presets import Preset, PresetError, load_preset
from kbert.saved_model import FILE_FORMAT
from kbert.text import Preprocessor
from kbert.text_model import Model

__all__ = ["Backbone", "Model", "build_classifier", "load_backbone", "load_model"]

Pooling = Literal["pooler", "cls", "mean"]
_MLP_UNITS = 512


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
    backbone = Backbone(preset.config, precision=precision)
    _ = backbone.compute_precision  # refuses here what would fail in training
    if not load_weights:
        return backbone
    weights = preset.load_weights()
    for variable in backbone.weights:
        value = weights.get(variable.path)
        if value is not None:
            variable.assign(value)
        elif not variable.path.startswith("pooled_dense/"):
            raise PresetError(
                f"preset {preset.name!r} has no weight {variable.path!r}; "
                "its files are incomplete."
            )
    return backbone


def build_classifier(
    preset: str | os.PathLike | Preset,
    label_names: Sequence[str] | None = None,
    *,
    num_classes: int | None = None,
    head: str | keras.layers.Layer | Callable = "linear",
    dropout: float = 0.1,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    clean: str | Sequence | None = None,
    precision: Precision = "auto",
    load_weights: bool = True,
) -> Model:
    """Put a classification head on an encoder.

    Args:
        preset: see `kbert.load_preset`.
        label_names: names of the label ids, in their order.
        num_classes: number of classes, when they have no names.
        head: `linear` (dropout, dense), `mlp` (dense 512, ReLU, dropout, dense), both
            ending in a softmax that is trained from its logits; or a layer or function
            from features (batch, hidden_dim) to probabilities (batch, num_classes).
        dropout: share of values dropped in a named head, in [0, 1).
        pooling: `pooler`, `cls` (first token) or `mean` (over tokens) makes one vector
            of a text; `None` is what the preset was trained for.
        max_length: longest text, in tokens; `None` is the encoder's longest.
        clean: done to every text first; see `kbert.Preprocessor`.
        precision: format of the matrix products; see `Backbone`.
        load_weights: `False` leaves the encoder's weights random.

    Returns:
        A model of raw texts, not compiled.

    Raises:
        PresetError: the preset is unknown, unreachable or damaged.
        ValueError: classes, head, pooling or length do not fit; the sentence says how.
    """
    preset = load_preset(preset)
    num_classes = _count_classes(label_names, num_classes)
    pooling = pooling or preset.pooling
    backbone = load_backbone(preset, precision=precision, load_weights=load_weights)
    features = _pool(backbone, pooling)
    outputs = _build_head(head, features, num_classes, dropout)
    if outputs.shape[-1] != num_classes:
        raise ValueError(
            f"the head must give {num_classes} values a text, one a class; "
            f"it gives the shape {outputs.shape}."
        )
    model = Model(backbone.input, outputs, name="classifier")
    model.label_names = tuple(map(str, label_names)) if label_names else None
    model.preprocessor = Preprocessor(
        preset.tokenizer,
        max_length=_check_length(max_length, backbone.config.max_sequence_length),
        input_names=backbone.config.input_names,
        clean=clean,
    )
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


def _count_classes(label_names, num_classes: int | None) -> int:
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
    if count < 2:
        raise ValueError(f"a classifier needs at least 2 classes; received {count}.")
    return count


def _check_length(max_length: int | None, longest: int) -> int:
    if max_length is not None and max_length > longest:
        raise ValueError(
            f"max_length must be at most {longest}, the encoder's longest text in "
            f"tokens; received {max_length}."
        )
    return longest if max_length is None else max_length


def _pool(backbone: Backbone, pooling: str):
    outputs = backbone(backbone.input)
    has_pooler = backbone.config.has_pooler
    sequence = outputs["sequence_output"] if has_pooler else outputs
    if pooling == "pooler" and has_pooler:
        return outputs["pooled_output"]
    if pooling == "cls":
        return sequence[:, 0, :]
    if pooling == "mean":
        return MeanPooling(name="mean")(sequence, backbone.input["padding_mask"])
    offered = "'pooler', 'cls' or 'mean'" if has_pooler else "'cls' or 'mean'"
    raise ValueError(
        f"pooling must be {offered} for a {backbone.config.family} encoder; "
        f"received {pooling!r}."
    )


def _build_head(head, features, num_classes: int, dropout: float):
    if callable(head):
        return head(features)
    if head not in ("linear", "mlp"):
        raise ValueError(
            "head must be 'linear', 'mlp', a layer or a function of the features; "
            f"received {head!r}."
        )
    if head == "mlp":
        features = keras.layers.Dense(
            _MLP_UNITS, activation="relu", name="head_hidden"
        )(features)
    features = keras.layers.Dropout(dropout, name="head_dropout")(features)
    return keras.layers.Dense(
        num_classes,
        activation="softmax",
        kernel_initializer=build_initializer(),
        name="probabilities",
    )(features)


def load_model(path: str | os.PathLike, *, compile: bool = True) -> Model:
    """Load a model that `Model.save` wrote.

    Args:
        path: a `.keras` file.
        compile: whether to restore optimizer, loss and metrics too.

    Returns:
        The model, its text handling included. No code from the file is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of a newer kbert, or not a kbert model.
    """
    path = Path(path)
    _check_model_file(path)
    try:
        with without_tensorflow():
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


def _check_model_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}; check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            text = archive.read("config.json")
            config = json.loads(text)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is damaged or no .keras file. Save the model again."
        ) from error
    if damaged is not None:
        raise ValueError(
            f"{path} is damaged: {damaged} fails its checksum. Save the model again."
        )
    inner = config.get("config") if isinstance(config, dict) else None
    if not isinstance(inner, dict):
        raise ValueError(f"{path} holds no Keras model. Save the model again.")
    if b'"class_name": "Lambda"' in text:
        raise ValueError(
            f"{path} cannot be loaded: it holds a Lambda layer, and no code from a "
            "file is run. Save the model with a registered layer in its place."
        )
    own = inner.get("kbert") or {}
    if own.get("format", FILE_FORMAT) > FILE_FORMAT:
        raise ValueError(
            f"{path} has file format {own['format']}, and this kbert reads up to "
            f"{FILE_FORMAT}. Upgrade kbert to load it."
        )
