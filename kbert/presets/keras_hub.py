"""Folders that KerasHub wrote: `config.json`, `model.weights.h5` and `assets/`.

Backbones and whole tasks have the same layout; a task's own head (`task.weights.h5`)
is left out. KerasHub itself is not needed, and nothing of the folder is executed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from kbert.engine.config import Activation, EncoderConfig, Family
from kbert.presets import files
from kbert.presets.arrays import StoredArray, list_hdf5
from kbert.presets.preset import Pooling, Preset, PresetError
from kbert.presets.variables import EMBEDDINGS, check_variables, variable_shapes
from kbert.tokenizer import Tokenizer

_FAMILIES: dict[str, Family] = {
    "BertBackbone": "bert",
    "DistilBertBackbone": "distil_bert",
    "RobertaBackbone": "roberta",
}
_TOKENIZERS: dict[str, tuple[str, ...]] = {
    "BertTokenizer": ("vocabulary.txt",),
    "DistilBertTokenizer": ("vocabulary.txt",),
    "RobertaTokenizer": ("vocabulary.json", "merges.txt"),
}
_SIZES = (
    "vocabulary_size",
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "max_sequence_length",
)

# KerasHub's code, not its files, says which GELU and epsilon a family has.
ACTIVATIONS: dict[Family, Activation] = {
    "bert": "gelu_approximate",
    "distil_bert": "gelu",
    "roberta": "gelu",
}
EPSILONS: dict[Family, float] = {"bert": 1e-12, "distil_bert": 1e-12, "roberta": 1e-5}

# Keras names what it saves after classes and attributes: group in the file -> path.
_BERT_GROUPS = {
    "token_embedding": "reversible_embedding",
    "position_embedding": "position_embedding",
    "segment_embedding": "embedding",
    "pooled_dense": "dense",
}
_ATTENTION_GROUPS = {
    "query": "query_dense",
    "key": "key_dense",
    "value": "value_dense",
    "attention_output": "output_dense",
}
_LEGACY_LAYERS = "_layer_checkpoint_dependencies/"  # Keras 2.13


def load_keras_hub_folder(
    folder: Path,
    *,
    name: str | None = None,
    source: str | None = None,
    activation: Activation | None = None,
    pooling: Pooling | None = None,
    accents_as_trained: bool = False,
) -> Preset:
    """Read a preset that KerasHub wrote.

    Args:
        folder: holds `config.json`, `model.weights.h5` (or its shards and index),
            `tokenizer.json` and `assets/tokenizer/`.
        name: the preset's name; the folder's path if `None`.
        source: where the weights come from, in words.
        activation: what the checkpoint was trained with; KerasHub's own if `None`.
        pooling: what it is read with where the folder does not say; `None`: the
            pooler for BERT, else the first token.
        accents_as_trained: remove accents where the tokenizer lower-cases, as the
            published uncased checkpoints were trained; else as the folder says.

    Returns:
        The preset.

    Raises:
        PresetError: a file is missing or damaged, or the model is of another kind.
    """
    config = _read_config(files.read_json(folder / "config.json"), folder, activation)
    arrays = _list_arrays(folder)
    variables = check_variables(_map_arrays(arrays, config), config, folder)
    tokenizer = _read_tokenizer(folder, accents_as_trained)
    files.check_tokenizer(tokenizer, config, folder)
    usual: Pooling = "pooler" if config.has_pooler else "cls"
    return Preset(
        name=name or str(folder),
        source=source or f"the KerasHub preset in the folder {folder}",
        config=config,
        pooling=_read_pooling(folder) or pooling or usual,
        tokenizer=tokenizer,
        variables=variables,
    )


def tokenizer_assets(folder: Path) -> tuple[str, ...]:
    """List the vocabulary files that a preset's `tokenizer.json` asks for.

    Args:
        folder: the preset's folder.

    Returns:
        Paths inside the folder.

    Raises:
        PresetError: the tokenizer is of another kind than WordPiece or byte-level BPE.
    """
    kind = files.read_json(folder / "tokenizer.json").get("class_name")
    if kind not in _TOKENIZERS:
        raise PresetError(
            f"{folder / 'tokenizer.json'} is a {kind!r}, but kbert reads "
            f"{', '.join(_TOKENIZERS)}; choose a preset with one of these."
        )
    return tuple(f"assets/tokenizer/{file}" for file in _TOKENIZERS[kind])


def _read_config(
    table: dict[str, Any], folder: Path, activation: Activation | None
) -> EncoderConfig:
    kind, values = table.get("class_name"), table.get("config")
    if kind not in _FAMILIES:
        raise PresetError(
            f"{folder / 'config.json'} is a {kind!r}, but kbert reads "
            f"{', '.join(_FAMILIES)}; choose a preset of one of these."
        )
    values = values if isinstance(values, dict) else {}
    family = _FAMILIES[kind]
    return files.build_config(
        folder,
        family=family,
        **{key: files.read_size(values, key, folder) for key in _SIZES},
        dropout=values.get("dropout", 0.1),
        num_segments=values.get("num_segments", 2),
        activation=activation or ACTIVATIONS[family],
        layer_norm_epsilon=EPSILONS[family],
    )


def _list_arrays(folder: Path) -> dict[str, StoredArray]:
    single, index = folder / "model.weights.h5", folder / "model.weights.json"
    if single.is_file():
        found = list_hdf5(single)
    elif index.is_file():
        shards = files.shard_files(index)
        found = {k: v for file in shards for k, v in list_hdf5(file).items()}
    else:
        raise PresetError(
            f"{single} is missing; save the preset again with KerasHub, "
            "backbone.save_to_preset(folder)."
        )
    return {_plain_name(name): array for name, array in found.items()}


def _plain_name(name: str) -> str:
    """Return a saved name without what differs between versions of Keras."""
    name = name.removeprefix(_LEGACY_LAYERS).removeprefix("layers/")
    parts = [part.removeprefix("_") for part in name.split("/") if part != "vars"]
    return "/".join(parts)


def _map_arrays(
    arrays: Mapping[str, StoredArray], config: EncoderConfig
) -> dict[str, StoredArray]:
    return {
        path: arrays[saved]
        for path in variable_shapes(config)
        if (saved := saved_name(path, config.family)) in arrays
    }


def saved_name(path: str, family: Family) -> str:
    """Return where Keras saves a variable.

    Args:
        path: of the variable.
        family: of the encoder.

    Returns:
        Its group in the file, as `_plain_name` has it, and 0 or 1 inside it.
    """
    group, _, kind = path.rpartition("/")
    number = 1 if kind in ("bias", "beta") else 0
    layer, _, rest = group.partition("/")
    if layer.startswith("transformer_layer_"):
        index = layer.removeprefix("transformer_layer_")
        block, _, part = rest.partition("/")
        steps = ["transformer_encoder" + (f"_{index}" if index != "0" else ""), block]
        steps += [_ATTENTION_GROUPS[part]] if part else []
        group = "/".join(steps)
    elif group == "embeddings_layer_norm":
        group = "layer_normalization"
    elif family == "bert":
        group = _BERT_GROUPS[group]
    else:
        group = group.removeprefix(EMBEDDINGS[family])
        group = f"token_and_position_embedding/{group}"
    return f"{group}/{number}"


def _read_tokenizer(folder: Path, accents_as_trained: bool) -> Tokenizer:
    paths = [folder / asset for asset in tokenizer_assets(folder)]
    settings = files.read_json(folder / "tokenizer.json").get("config")
    settings = settings if isinstance(settings, dict) else {}
    if len(paths) == 2:
        return files.read_bpe_tokenizer(
            *paths, add_prefix_space=bool(settings.get("add_prefix_space", False))
        )
    # KerasHub's own tokenizer keeps accents unless told, for the uncased checkpoints
    # too. These were trained without: Google's code and transformers' fast tokenizer
    # remove accents wherever they lower-case, so the vocabulary has no piece for most
    # accented words. `None` does as they do.
    strips = bool(settings.get("strip_accents", False))
    return files.read_wordpiece_tokenizer(
        *paths,
        lowercase=bool(settings.get("lowercase", False)),
        strip_accents=None if accents_as_trained else strips,
    )


def _read_pooling(folder: Path) -> Pooling | None:
    """Return the pooling of a saved `TextEmbedder`, `None` for any other task."""
    settings = files.read_json(folder / "task.json", optional=True).get("config")
    mode = settings.get("pooling_mode") if isinstance(settings, dict) else None
    return cast(Pooling, mode) if mode in ("mean", "cls") else None
