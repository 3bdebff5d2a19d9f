"""Folders that transformers wrote: `config.json`, safetensors and a vocabulary.

Encoders, masked language models and classifiers are all accepted; the encoder is taken
from them. RoBERTa's pooler is left out, as KerasHub's backbone has none.
"""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kbert.engine.config import Activation, EncoderConfig, Family
from kbert.presets import files
from kbert.presets.arrays import StoredArray, list_safetensors
from kbert.presets.hugging_face_names import (
    ACTIVATIONS,
    DISTIL_BERT_KEYS,
    FAMILIES,
    KEYS,
    name_weights,
)
from kbert.presets.preset import Pooling, Preset, PresetError
from kbert.presets.variables import (
    POOLER,
    check_variables,
    variable_shapes,
)
from kbert.tokenizer import Tokenizer

_WORDS = "embeddings.word_embeddings.weight"


def load_hugging_face_folder(
    folder: Path, *, name: str | None = None, source: str | None = None
) -> Preset:
    """Read a checkpoint that transformers wrote.

    Args:
        folder: holds `config.json`, `model.safetensors` (or its shards and index) and
            `tokenizer.json`, `vocab.txt`, or `vocab.json` with `merges.txt`.
        name: the preset's name; the folder's path if `None`.
        source: where the weights come from, in words.

    Returns:
        The preset. Its pooling is what `1_Pooling` says where sentence-transformers
        wrote it, else the pooler where the checkpoint has one, else the first token.

    Raises:
        PresetError: a file is missing or damaged, or the model is of another kind.
    """
    table = files.read_json(folder / "config.json")
    config = _read_config(table, folder)
    arrays = list_arrays(folder)
    variables = check_variables(
        _map_arrays(arrays, config, _first_position(table)), config, folder
    )
    tokenizer = _read_tokenizer(folder, config)
    files.check_tokenizer(tokenizer, config, folder)
    return Preset(
        name=name or str(folder),
        source=source or f"the Hugging Face checkpoint in the folder {folder}",
        config=config,
        pooling=_read_pooling(folder, variables),
        tokenizer=tokenizer,
        variables=variables,
    )


def _read_config(table: dict[str, Any], folder: Path) -> EncoderConfig:
    family = _read_family(table, folder)
    distil = family == "distil_bert"
    _refuse_variants(table, folder)
    keys = DISTIL_BERT_KEYS if distil else KEYS
    sizes = {field: files.read_size(table, keys[field], folder) for field in keys}
    positions = files.read_size(table, "max_position_embeddings", folder)
    if family == "roberta":
        positions -= _first_position(table)
    return files.build_config(
        folder,
        family=family,
        **sizes,
        dropout=table.get("dropout" if distil else "hidden_dropout_prob", 0.1),
        max_sequence_length=positions,
        num_segments=table.get("type_vocab_size", 2) if family == "bert" else 2,
        activation=_read_activation(
            table.get("activation" if distil else "hidden_act", "gelu"), folder
        ),
        layer_norm_epsilon=1e-12 if distil else table.get("layer_norm_eps", 1e-12),
    )


def _read_family(table: dict[str, Any], folder: Path) -> Family:
    kind = table.get("model_type")
    if kind is None:  # checkpoints of 2019 name only their class
        classes = [str(name).lower() for name in table.get("architectures") or ()]
        known = [t for t in FAMILIES if any(c.startswith(t) for c in classes)]
        kind = known[0] if known else None
    if kind not in FAMILIES:
        raise PresetError(
            f"{folder / 'config.json'} has model_type {kind!r}, but kbert reads "
            f"{', '.join(FAMILIES)}; choose a checkpoint of one of these."
        )
    return FAMILIES[kind]


def _refuse_variants(table: dict[str, Any], folder: Path) -> None:
    """Refuse what has the same weights but other mathematics."""
    position = table.get("position_embedding_type") or "absolute"
    if position != "absolute":
        raise PresetError(
            f"{folder / 'config.json'} has position_embedding_type {position!r}, but "
            "kbert has absolute positions only; choose another checkpoint."
        )
    if table.get("is_decoder"):
        raise PresetError(
            f"{folder / 'config.json'} has is_decoder true, but kbert has encoders "
            "only; choose another checkpoint."
        )


def _read_activation(name: Any, folder: Path) -> Activation:
    if name not in ACTIVATIONS:
        raise PresetError(
            f"{folder / 'config.json'} has activation {name!r}, but kbert knows "
            f"{', '.join(ACTIVATIONS)}; choose another checkpoint."
        )
    return ACTIVATIONS[name]


def _first_position(table: dict[str, Any]) -> int:
    """Return the row of RoBERTa's position table that the first token has.

    RoBERTa numbers positions from the padding id (1) plus one.
    """
    padding = table.get("pad_token_id", 1)
    return (padding if isinstance(padding, int) else 1) + 1


def list_arrays(folder: Path) -> dict[str, StoredArray]:
    """List the arrays of a checkpoint, heads included, under transformers' names.

    Args:
        folder: holds `model.safetensors`, or its shards and index.

    Returns:
        Arrays by name.

    Raises:
        PresetError: there is none of both (a pickle is not opened), or it is damaged.
    """
    single, index = (
        folder / "model.safetensors",
        folder / "model.safetensors.index.json",
    )
    if single.is_file():
        return list_safetensors(single)
    if index.is_file():
        shards = files.shard_files(index)
        return {k: v for file in shards for k, v in list_safetensors(file).items()}
    pickles = sorted(
        path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth")
    )
    if pickles:
        raise PresetError(
            f"{folder} has its weights only as a pickle ({pickles[0]}), which could "
            "run any code when opened; convert it with transformers, "
            "model.save_pretrained(folder, safe_serialization=True), and use the new "
            "folder."
        )
    raise PresetError(
        f"{folder} has no model.safetensors; where a checkpoint has only a pickle "
        "(pytorch_model.bin), convert it with transformers, "
        "model.save_pretrained(folder, safe_serialization=True)."
    )


def _map_arrays(
    arrays: Mapping[str, StoredArray], config: EncoderConfig, first_position: int
) -> dict[str, StoredArray]:
    """Return the encoder's arrays by variable path, in KerasHub's layout."""
    theirs = _strip_prefix(arrays)
    if config.family == "roberta":
        theirs |= _fold_positions(theirs, first_position)
    names = name_weights(config)
    return {
        path: _convert(path, theirs[name], shape)
        for path, shape in variable_shapes(config).items()
        if (name := names[path]) in theirs
    }


def _strip_prefix(arrays: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """Return the encoder's arrays without `bert.` and the like, in today's names."""
    found = [name for name in arrays if name.endswith(_WORDS)]
    prefix = min(found, key=len)[: -len(_WORDS)] if found else ""
    stripped = {}
    for name, array in arrays.items():
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
                if name.endswith(old):
                    name = name.removesuffix(old) + new
            stripped[name] = array
    return stripped


def _convert(path: str, array: StoredArray, shape: tuple[int, ...]) -> StoredArray:
    """Return a torch weight as Keras lays it out.

    A torch `Linear` holds (outputs, inputs), Keras (inputs, outputs), and attention
    splits its width into heads. What does not fit keeps a shape that tells why.
    """
    if path.endswith("/kernel"):
        split = 2 if path.endswith("attention_output/kernel") else 1
        transposed = (math.prod(shape[:split]), math.prod(shape[split:]))
        fits = array.shape[::-1] == transposed
        return array.map(shape if fits else array.shape[::-1], np.transpose)
    if path.endswith("/bias") and array.shape == (math.prod(shape),):
        return array.map(shape, _keep)
    return array


def _keep(array: np.ndarray) -> np.ndarray:
    return array


def _fold_positions(
    arrays: Mapping[str, StoredArray], first_position: int
) -> dict[str, StoredArray]:
    """Return RoBERTa's position table without its unused rows.

    RoBERTa has one segment, whose vector is added to every token; KerasHub has no
    segment table there, so the vector goes into the positions: the sum is the same.
    """
    name = "embeddings.position_embeddings.weight"
    table = arrays.get(name)
    if table is None or len(table.shape) != 2:
        return {}
    rows, width = table.shape
    segments = arrays.get("embeddings.token_type_embeddings.weight")
    fold = partial(_fold, segments, first_position)
    return {name: table.map((max(rows - first_position, 0), width), fold)}


def _fold(
    segments: StoredArray | None, first_position: int, positions: np.ndarray
) -> np.ndarray:
    positions = positions[first_position:]
    return positions if segments is None else positions + segments.read()[0]


def _read_tokenizer(folder: Path, config: EncoderConfig) -> Tokenizer:
    settings = files.read_json(folder / "tokenizer_config.json", optional=True)
    tokenizer, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
    if tokenizer.is_file():
        table = files.read_json(tokenizer)
        _apply_settings(table, settings)
        build = partial(Tokenizer.from_json, json.dumps(table))
        return files.build_tokenizer(build, tokenizer)
    if config.family == "roberta":
        return files.read_bpe_tokenizer(
            folder / "vocab.json",
            folder / "merges.txt",
            add_prefix_space=bool(settings.get("add_prefix_space", False)),
        )
    return files.read_wordpiece_tokenizer(
        vocabulary,
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
    )


def _apply_settings(table: dict[str, Any], settings: dict[str, Any]) -> None:
    """Let `tokenizer_config.json` overrule `tokenizer.json`, as transformers does."""
    for part, key, setting in (
        ("normalizer", "lowercase", "do_lower_case"),
        ("normalizer", "strip_accents", "strip_accents"),
        ("normalizer", "handle_chinese_chars", "tokenize_chinese_chars"),
        ("pre_tokenizer", "add_prefix_space", "add_prefix_space"),
    ):
        step = table.get(part)
        if isinstance(step, dict) and key in step and setting in settings:
            step[key] = settings[setting]


def _read_pooling(folder: Path, variables: Mapping[str, StoredArray]) -> Pooling:
    said = files.read_json(folder / "1_Pooling" / "config.json", optional=True)
    if said.get("pooling_mode_mean_tokens"):
        return "mean"
    if said.get("pooling_mode_cls_token"):
        return "cls"
    return "pooler" if POOLER[0] in variables else "cls"
