"""Models with heads, read from folders that transformers or `kbert.export` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kbert.engine.config import EncoderConfig
from kbert.engine.precision import Precision
from kbert.models import build_backbone, pool
from kbert.presets import Preset, PresetError, load_preset
from kbert.presets.arrays import StoredArray
from kbert.presets.files import read_json
from kbert.presets.hugging_face import list_arrays
from kbert.presets.variables import POOLER
from kbert.rewriting import Layer, Weights, remove_mean_layer, undo_relu, undo_tanh
from kbert.text import Preprocessor
from kbert.text_model import Model
from kbert.token_heads import SpanScores

# The two dense layers that read the first token; BERT's first is its pooler.
_HEADS = {
    "distil_bert": ("pre_classifier", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
}
_ENDINGS = {
    "ForSequenceClassification": "classify",
    "ForTokenClassification": "tag",
    "ForQuestionAnswering": "answer",
}
_PROBLEMS = {
    "multi_label_classification": "multilabel",
    "regression": "regress",
}
_ACTIVATIONS = {"multilabel": "sigmoid", "regress": "linear", "answer": "linear"}

_LAST_NAMES = {"answer": "span_scores", "regress": "score"}


def load_checkpoint(folder: Path, *, precision: Precision = "auto") -> Model:
    """Load a model with its head.

    Args:
        folder: what `save_pretrained` of a `...ForSequenceClassification`,
            `...ForTokenClassification` or `...ForQuestionAnswering` wrote, with its
            tokenizer; weights as safetensors.
        precision: format of the matrix products; see `Backbone`.

    Returns:
        The model, not compiled; `task` and `label_names` are the folder's. What
        `kbert.export` had rewritten for transformers is as it was before.

    Raises:
        FileNotFoundError: the folder is none of transformers'.
        PresetError: a file is missing or damaged, or the model is of another kind.
    """
    table = read_json(folder / "config.json", optional=True)
    if "architectures" not in table and "model_type" not in table:
        raise FileNotFoundError(
            f"there is no model file in {folder}: neither model.keras, which a "
            "finished run has, nor the config.json of a folder that transformers "
            "loads; check the path."
        )
    task = _read_task(table, folder)
    own = table.get("kbert")
    own = own if isinstance(own, dict) else {}
    preset = load_preset(folder)
    parts = _read_parts(preset, task, own.get("pooling"), folder)
    model = _build(parts, preset.name, task, _read_dropout(table), precision)
    model.task = task
    model.label_names = _read_names(table, task, len(parts.last[1]))
    metadata = own.get("metadata")
    model.metadata = dict(metadata) if isinstance(metadata, dict) else {}
    model.preprocessor = _build_preprocessor(preset, own, folder)
    return model


@dataclass(frozen=True)
class _Parts:
    """What a folder holds: an encoder, what is read of it, and dense layers."""

    config: EncoderConfig
    weights: Weights
    pooling: str
    last: Layer
    hidden: Layer | None = None


def _read_task(table: Mapping[str, Any], folder: Path) -> str:
    classes = [str(name) for name in table.get("architectures") or ()]
    tasks = [t for end, t in _ENDINGS.items() if any(c.endswith(end) for c in classes)]
    if not tasks:
        raise PresetError(
            f"{folder / 'config.json'} names {', '.join(classes) or 'no class'}, which "
            "has no head that kbert knows; to put one on it, pass the folder to "
            "kbert.build_classifier."
        )
    if tasks[0] != "classify":
        return tasks[0]
    problem = table.get("problem_type")
    names = table.get("id2label")
    if problem is None and isinstance(names, dict) and len(names) == 1:
        return "regress"
    return _PROBLEMS.get(str(problem), "classify")


def _read_names(
    table: Mapping[str, Any], task: str, count: int
) -> tuple[str, ...] | None:
    """Return the label names in the order of their ids."""
    if task in ("answer", "regress"):
        return None
    names = table.get("id2label")
    if not isinstance(names, dict):
        return tuple(f"LABEL_{index}" for index in range(count))
    if set(names) != set(map(str, range(count))):
        raise PresetError(
            f"id2label in config.json must name the ids 0 to {count - 1}, one an "
            f"output of the head; it names {len(names)} others. Take both from one "
            "checkpoint."
        )
    return tuple(str(names[str(index)]) for index in range(count))


def _read_layer(arrays: Mapping[str, StoredArray], name: str, folder: Path) -> Layer:
    weight, bias = (arrays.get(f"{name}.{kind}") for kind in ("weight", "bias"))
    if weight is None or bias is None:
        raise PresetError(
            f"{folder} lacks the head's weight {name + '.weight'!r} or its bias; save "
            "the model again, with its head."
        )
    kernel = weight.read()
    if kernel.ndim != 2 or kernel.shape[:1] != bias.shape:
        raise PresetError(
            f"{folder}: {name!r} has weights of shape {weight.shape} and {bias.shape}; "
            "copy or download the file again."
        )
    return np.ascontiguousarray(kernel.T), bias.read()


def _read_parts(preset: Preset, task: str, pooling: Any, folder: Path) -> _Parts:
    config, weights = preset.config, preset.load_weights()
    arrays = list_arrays(folder)
    if task in ("tag", "answer"):
        name = "qa_outputs" if task == "answer" else "classifier"
        return _Parts(config, weights, "tokens", _read_layer(arrays, name, folder))
    if config.family == "bert":
        last = _read_layer(arrays, "classifier", folder)
        if POOLER[0] not in weights:
            raise PresetError(f"{folder} lacks the pooler's weights; save it again.")
        first = weights[POOLER[0]], weights[POOLER[1]]
    else:
        first, last = (
            _read_layer(arrays, name, folder) for name in _HEADS[config.family]
        )
    found = _undo(config, weights, first, last, pooling)
    if found is None and config.family == "bert":
        return _Parts(config, weights, "pooler", last)
    return found or _Parts(config, weights, "cls", last, first)


def _undo(
    config: EncoderConfig, weights: Weights, first: Layer, last: Layer, pooling: Any
) -> _Parts | None:
    """Return what `kbert.export` rewrote, or `None` if it did not."""
    if pooling not in ("cls", "mean"):
        return None
    undo = undo_relu if config.family == "distil_bert" else undo_tanh
    layer = undo(first, last)
    if layer is None or pooling == "cls":
        return layer and _Parts(config, weights, pooling, layer)
    found = remove_mean_layer(config, weights, layer)
    return found and _Parts(found[0], found[1], pooling, found[2])


def _build(
    parts: _Parts, name: str, task: str, dropout: float, precision: Precision
) -> Model:
    """Connect encoder and dense layers, and give them their values."""
    backbone = build_backbone(parts.config, parts.weights.get, name, precision)
    features = pool(backbone, parts.pooling)
    values = []
    if parts.hidden is not None:
        activation = "relu" if parts.config.family == "distil_bert" else "tanh"
        units = len(parts.hidden[1])
        dense = keras.layers.Dense(units, activation=activation, name="head_hidden")
        features = dense(features)
        values.append((dense, parts.hidden))
    features = keras.layers.Dropout(dropout, name="head_dropout")(features)
    activation = _ACTIVATIONS.get(task, "softmax")
    name = _LAST_NAMES.get(task, "probabilities")
    dense = keras.layers.Dense(len(parts.last[1]), activation=activation, name=name)
    outputs = dense(features)
    if task == "answer":
        spans = SpanScores(name="spans")(outputs, backbone.input["padding_mask"])
        outputs = keras.layers.Softmax(name="probabilities")(spans)
    model = Model(backbone.input, outputs, name="classifier")
    for layer, pair in (*values, (dense, parts.last)):
        layer.set_weights(list(pair))
    return model


def _read_dropout(table: Mapping[str, Any]) -> float:
    """Return the share that the class's head drops in training."""
    keys = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob")
    rates = [table[key] for key in keys if isinstance(table.get(key), int | float)]
    return float(rates[0]) if rates else 0.1


def _build_preprocessor(
    preset: Preset, own: Mapping[str, Any], folder: Path
) -> Preprocessor:
    longest = preset.config.max_sequence_length
    saved = own.get("preprocessor")
    if isinstance(saved, dict):
        return Preprocessor.from_config(saved, preset.tokenizer)
    settings = read_json(folder / "tokenizer_config.json", optional=True)
    limit = settings.get("model_max_length")
    if not isinstance(limit, int) or not 2 <= limit <= longest:
        limit = longest
    return Preprocessor(
        preset.tokenizer,
        max_length=limit,
        input_names=preset.config.input_names,
    )
