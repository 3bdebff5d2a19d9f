"""A backbone as a preset folder of KerasHub's."""

import json
from pathlib import Path
from typing import Any

from kbert.engine.config import EncoderConfig
from kbert.exporting.folder import write_json
from kbert.exporting.head import read_weights
from kbert.exporting.tokenizer_files import write_vocabulary
from kbert.models import Model
from kbert.presets.keras_hub import ACTIVATIONS, EPSILONS, saved_name
from kbert.text import Tokenizer

_MODULES = {"bert": "bert", "distil_bert": "distil_bert", "roberta": "roberta"}
_PREFIXES = {"bert": "Bert", "distil_bert": "DistilBert", "roberta": "Roberta"}
_SIZES = (
    "vocabulary_size",
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "dropout",
    "max_sequence_length",
)


def write_keras_hub(folder: Path, model: Model) -> None:
    """Write `config.json`, `model.weights.h5` and the tokenizer of a backbone.

    Args:
        folder: exists and is empty.
        model: whose backbone to write.
    """
    import h5py

    backbone = model.backbone
    config = backbone.config
    name = f"{_PREFIXES[config.family]}Backbone"
    sizes: dict[str, Any] = {key: getattr(config, key) for key in _SIZES}
    if config.family == "bert":
        sizes["num_segments"] = config.num_segments
    write_json(folder / "config.json", _describe(config, name, "backbone", sizes))
    with h5py.File(folder / "model.weights.h5", "w") as file:
        for path, array in read_weights(backbone).items():
            file[_name_dataset(saved_name(path, config.family))] = array
    count = sum(array.size for array in read_weights(backbone).values())
    write_json(folder / "metadata.json", {"parameter_count": count})
    if model.preprocessor is not None:
        _write_tokenizer(folder, config, model.preprocessor.tokenizer)


def describe_difference(model: Model) -> str | None:
    """Say in a sentence how KerasHub's outputs will differ, if they do.

    Args:
        model: whose backbone is written.

    Returns:
        The sentence, or `None`: they are equal.
    """
    config = model.backbone.config
    family = config.family
    parts = []
    if config.activation != ACTIVATIONS[family]:
        forms = {"gelu": "the erf form of GELU", "gelu_approximate": "its tanh form"}
        ours = forms.get(config.activation, config.activation)
        parts.append(f"{ours}, and KerasHub's class {forms[ACTIVATIONS[family]]}")
    if config.layer_norm_epsilon != EPSILONS[family]:
        parts.append(
            f"layer norms with epsilon {config.layer_norm_epsilon:g}, and KerasHub's "
            f"class {EPSILONS[family]:g}"
        )
    if not parts:
        return None
    return (
        f"The encoder computes {'; '.join(parts)}: keras_hub's outputs differ a little "
        "from this model's."
    )


def _name_dataset(saved: str) -> str:
    """Return the full name in the file, as Keras 3.15 writes it."""
    *groups, number = saved.split("/")
    if groups[0].startswith("transformer_encoder") and len(groups) > 1:
        groups[1] = f"_{groups[1]}"
    return "/".join(["layers", *groups, "vars", number])


def _describe(
    config: EncoderConfig, name: str, module: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Return what KerasHub builds an object from."""
    place = _MODULES[config.family]
    snake = f"{place}_{module}"
    dtype = "int32" if module == "tokenizer" else "float32"
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    return {
        "module": f"keras_hub.src.models.{place}.{snake}",
        "class_name": name,
        "config": {"name": snake, "trainable": True, "dtype": policy, **values},
        "registered_name": f"keras_hub>{name}",
    }


def _write_tokenizer(folder: Path, config: EncoderConfig, tokenizer: Tokenizer) -> None:
    table = json.loads(tokenizer.json)
    is_bpe = table["model"]["type"] == "BPE"
    if is_bpe != (config.family == "roberta"):
        return  # KerasHub has no such pair
    values: dict[str, Any] = {"config_file": "tokenizer.json", "sequence_length": None}
    if is_bpe:
        step = table.get("pre_tokenizer") or {}
        values["add_prefix_space"] = bool(step.get("add_prefix_space", False))
    else:
        step = table.get("normalizer") or {}
        lowercase = bool(step.get("lowercase", False))
        strips = step.get("strip_accents")
        values["lowercase"] = lowercase
        values["strip_accents"] = lowercase if strips is None else bool(strips)
    name = f"{_PREFIXES[config.family]}Tokenizer"
    described = _describe(config, name, "tokenizer", values)
    write_json(folder / "tokenizer.json", described)
    assets = folder / "assets" / "tokenizer"
    assets.mkdir(parents=True)
    write_vocabulary(assets, table, ("vocabulary.txt", "vocabulary.json"))
