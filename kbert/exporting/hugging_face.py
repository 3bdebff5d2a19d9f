"""A folder that transformers loads: `AutoModelFor...` and `pipeline`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kbert.engine.config import EncoderConfig
from kbert.exporting.folder import write_json
from kbert.exporting.head import Dense, Head, Parts, read_parts
from kbert.exporting.tokenizer_files import write_tokenizer
from kbert.models import Model
from kbert.presets.hugging_face_names import DISTIL_BERT_KEYS, KEYS, name_weights
from kbert.rewriting import Layer, add_mean_layer, pass_relu, pass_tanh
from kbert.text import Tokenizer

_CLASSES = {"bert": "Bert", "distil_bert": "DistilBert", "roberta": "Roberta"}
_MODEL_TYPES = {"bert": "bert", "distil_bert": "distilbert", "roberta": "roberta"}
_ACTIVATIONS = {"gelu": "gelu", "gelu_approximate": "gelu_new", "relu": "relu"}
_ENDINGS = {
    "tag": "TokenClassification",
    "answer": "QuestionAnswering",
}
_PROBLEMS = {
    "classify": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regress": "regression",
}
# Names of the two dense layers that read the first token.
_SEQUENCE_HEADS = {
    "bert": ("bert.pooler.dense", "classifier"),
    "distil_bert": ("pre_classifier", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
}


def write_hugging_face(folder: Path, model: Model) -> None:
    """Write `config.json`, `model.safetensors` and the tokenizer's files.

    Args:
        folder: exists and is empty.
        model: what to write.

    Raises:
        ValueError: transformers has no class for the head, not even rewritten.
    """
    assert model.preprocessor is not None
    parts = read_parts(model)
    parts_of_file, arrays = _rewrite(parts)
    tokenizer = model.preprocessor.tokenizer
    arrays |= _name_arrays(parts_of_file, tokenizer)
    write_json(
        folder / "config.json", _build_config(model, parts_of_file, parts, tokenizer)
    )
    save_arrays(arrays, folder / "model.safetensors")
    write_tokenizer(folder, model.preprocessor)


def describe_rewriting(head: Head) -> str | None:
    """Say in a sentence what was rewritten for transformers' classes, if anything.

    Args:
        head: of the model.

    Returns:
        The sentence, or `None`: the head is transformers' own.
    """
    if head.pooling == "mean":
        return (
            "Transformers' classes read the first token only, so the mean over tokens "
            "is one transformer layer more, which attends to every token alike. The "
            "probabilities are the same; load the folder in float32 or bfloat16, as "
            "float16 cannot hold the layer's numbers, and to train on, load it with "
            "kbert.load_model, which takes the layer off again."
        )
    if head.pooling == "cls" and not head.hidden:
        return (
            "Transformers' classes read the first token through a dense layer more, "
            "which is written so that it changes nothing; to train on, load the folder "
            "with kbert.load_model, which takes the layer off again."
        )
    return None


def _rewrite(parts: Parts) -> tuple[Parts, dict[str, np.ndarray]]:
    """Return the encoder to write, and the arrays of its head."""
    head, family = parts.head, parts.config.family
    last = head.last.kernel, head.last.bias
    if head.task in _ENDINGS:
        if head.pooling != "tokens" or head.hidden:
            raise _build_refusal("hidden layers over tokens")
        name = "qa_outputs" if head.task == "answer" else "classifier"
        return parts, _name_layer(name, last)
    config, weights, hidden = parts.config, parts.weights, list(head.hidden)
    if head.pooling == "pooler":
        pooler = weights["pooled_dense/kernel"], weights["pooled_dense/bias"]
        hidden.insert(0, Dense(*pooler, "tanh"))
    if head.pooling == "mean" and not hidden:
        config, weights, last = add_mean_layer(config, weights, last)
    elif head.pooling in ("mean", "tokens"):
        raise _build_refusal(f"hidden layers over the {head.pooling}")
    layers = _fit_layers(hidden, last, family)
    names = _SEQUENCE_HEADS[family]
    arrays = _name_layer(names[0], layers[0]) | _name_layer(names[1], layers[1])
    return Parts(config, weights, head), arrays


def _fit_layers(hidden: list[Dense], last: Layer, family: str) -> tuple[Layer, Layer]:
    """Return the two dense layers that transformers' class has."""
    activation = "relu" if family == "distil_bert" else "tanh"
    if not hidden:
        return pass_relu(last) if activation == "relu" else pass_tanh(last)
    if len(hidden) > 1 or hidden[0].activation != activation:
        raise _build_refusal(
            f"{len(hidden)} hidden layers, the last with {hidden[-1].activation}"
        )
    width, units = hidden[0].kernel.shape
    if units > width:
        raise _build_refusal(f"a hidden layer of {units} units")
    spare = width - units  # units that are always 0 change nothing
    first = np.pad(hidden[0].kernel, ((0, 0), (0, spare)))
    second = np.pad(last[0], ((0, spare), (0, 0)))
    return (first, np.pad(hidden[0].bias, (0, spare))), (second, last[1])


def _build_refusal(what: str) -> ValueError:
    return ValueError(
        f"transformers has no class for this head ({what}). Export to onnx or keras, "
        "or train with head='linear'."
    )


def _name_layer(name: str, layer: Layer) -> dict[str, np.ndarray]:
    return {f"{name}.weight": layer[0].T, f"{name}.bias": layer[1]}


def _name_arrays(parts: Parts, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Return the encoder's arrays under transformers' names, in torch's layout."""
    config = parts.config
    prefix = _MODEL_TYPES[config.family]
    arrays = {
        f"{prefix}.{name}": _convert(path, parts.weights[path])
        for path, name in name_weights(config).items()
        if not path.startswith("pooled_dense/")  # the head wrote it, if it is read
    }
    if config.family == "roberta":
        name = f"{prefix}.embeddings.position_embeddings.weight"
        first = _first_position(tokenizer)
        arrays[name] = np.pad(arrays[name], ((first, 0), (0, 0)))
        segments = np.zeros((1, config.hidden_dim), np.float32)
        arrays[f"{prefix}.embeddings.token_type_embeddings.weight"] = segments
    return arrays


def _convert(path: str, array: np.ndarray) -> np.ndarray:
    """Return a Keras weight as torch lays it out: (outputs, inputs), heads joined."""
    if path.endswith("/kernel"):
        split = 2 if path.endswith("attention_output/kernel") else 1
        return array.reshape(math.prod(array.shape[:split]), -1).T
    return array.reshape(-1) if path.endswith("/bias") else array


def _first_position(tokenizer: Tokenizer) -> int:
    """Return the row of RoBERTa's position table that the first token has."""
    return tokenizer.pad_id + 1


def save_arrays(arrays: Mapping[str, np.ndarray], file: Path) -> None:
    """Write arrays as safetensors.

    Args:
        arrays: by name.
        file: to write.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(whole, file, metadata={"format": "pt"})
    except SafetensorError as error:  # how the library says that a disk is full
        reason = str(error).rpartition(": ")[2].rstrip(".")
        raise OSError(f"cannot write {file}: {reason}; free some space.") from None


def _build_config(
    model: Model, written: Parts, parts: Parts, tokenizer: Tokenizer
) -> dict[str, Any]:
    config, head = written.config, parts.head
    ending = _ENDINGS.get(head.task, "SequenceClassification")
    table: dict[str, Any] = {
        "architectures": [f"{_CLASSES[config.family]}For{ending}"],
        "model_type": _MODEL_TYPES[config.family],
        "dtype": "float32",
        "pad_token_id": tokenizer.pad_id,
        **_describe_encoder(config, head.dropout, tokenizer),
    }
    if head.task != "answer":
        names = name_labels(model, len(head.last.bias))
        table["id2label"] = {str(index): name for index, name in enumerate(names)}
        table["label2id"] = {name: index for index, name in enumerate(names)}
    if head.task in _PROBLEMS:
        table["problem_type"] = _PROBLEMS[head.task]
    return table | {"kbert": describe_for_kbert(model, parts)}


def name_labels(model: Model, num_labels: int) -> list[str]:
    """Name the outputs of a model.

    Args:
        model: may have label names.
        num_labels: its outputs.

    Returns:
        Its label names, or transformers' own where it has none that fit.
    """
    names = list(model.label_names or ())
    if len(names) == num_labels:
        return names
    return [f"LABEL_{index}" for index in range(num_labels)]


def describe_for_kbert(model: Model, parts: Parts) -> dict[str, Any]:
    """Describe what kbert reads back and other libraries pass over.

    Args:
        model: what is written.
        parts: its values.

    Returns:
        JSON values.
    """
    preprocessor = model.preprocessor
    return {
        "task": parts.head.task,
        "pooling": parts.head.pooling,
        "metadata": model.metadata,
        "preprocessor": preprocessor.get_config() if preprocessor else None,
    }


def _describe_encoder(
    config: EncoderConfig, dropout: float, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Return the encoder's numbers under the keys of its class."""
    distil = config.family == "distil_bert"
    keys = DISTIL_BERT_KEYS if distil else KEYS
    table: dict[str, Any] = {key: getattr(config, f) for f, key in keys.items()}
    table["max_position_embeddings"] = config.max_sequence_length
    activation = _ACTIVATIONS[config.activation]
    if distil:
        if config.layer_norm_epsilon != 1e-12:
            raise ValueError(
                "transformers' DistilBERT has layer_norm_epsilon 1e-12; this encoder "
                f"has {config.layer_norm_epsilon}. Export to onnx or keras."
            )
        drops = dict.fromkeys(("dropout", "attention_dropout"), config.dropout)
        drops |= dict.fromkeys(("seq_classif_dropout", "qa_dropout"), dropout)
        return table | {"activation": activation, **drops}
    names = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    table |= dict.fromkeys(names, config.dropout)
    table |= {
        "classifier_dropout": dropout,
        "hidden_act": activation,
        "layer_norm_eps": config.layer_norm_epsilon,
        "type_vocab_size": config.num_segments,
    }
    if config.family == "roberta":
        table["type_vocab_size"] = 1
        table["max_position_embeddings"] += _first_position(tokenizer)
        table |= {"bos_token_id": tokenizer.start_id, "eos_token_id": tokenizer.end_id}
    return table
