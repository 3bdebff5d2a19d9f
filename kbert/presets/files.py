"""Reading the small files of a preset folder, with one sentence for each mishap."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kbert.engine.config import EncoderConfig
from kbert.presets.errors import PresetError
from kbert.tokenizer import Tokenizer

_LARGEST_JSON_BYTES = 200_000_000  # the largest vocabularies have a tenth of it


def read_text(file: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        PresetError: it is missing, unreadable or no UTF-8.
    """
    try:
        if file.stat().st_size > _LARGEST_JSON_BYTES:
            raise PresetError(f"{file} is too large to be a part of a preset.")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PresetError(
            f"{file} is missing; copy the preset's folder with all its files."
        ) from error
    except OSError as error:
        raise PresetError(
            f"{file} cannot be read ({error.strerror}); check the path and its "
            "permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise PresetError(
            f"{file} is not UTF-8 text; copy or download it again."
        ) from error


def read_json(file: Path, *, optional: bool = False) -> dict[str, Any]:
    """Read a JSON file that holds a table.

    Args:
        file: its path.
        optional: return an empty table if there is no such file.

    Raises:
        PresetError: it is missing, not JSON or no table.
    """
    if optional and not file.is_file():
        return {}
    try:
        table = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise PresetError(
            f"{file} is not valid JSON ({error}); copy or download it again."
        ) from error
    if not isinstance(table, dict):
        raise PresetError(f"{file} holds no JSON table; copy or download it again.")
    return table


def read_size(table: dict[str, Any], key: str, folder: Path) -> int:
    """Return a positive whole number of `config.json`.

    Raises:
        PresetError: it is missing or something else.
    """
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PresetError(
            f"{folder / 'config.json'} must have a positive number under {key!r}; "
            f"received {value!r}. Copy or download the file again."
        )
    return value


def build_config(folder: Path, **values: Any) -> EncoderConfig:
    """Build the configuration; what it rejects names the folder.

    Raises:
        PresetError: no encoder has that shape, or a number is none.
    """
    for key in ("dropout", "layer_norm_epsilon", "num_segments"):
        if not isinstance(values[key], int | float):
            raise PresetError(
                f"{folder / 'config.json'} must have a number for {key}; received "
                f"{values[key]!r}. Copy or download the file again."
            )
    try:
        return EncoderConfig(**values)
    except ValueError as error:
        raise PresetError(f"{folder / 'config.json'}: {error}") from error


def shard_files(index: Path) -> list[Path]:
    """List the weight files that an index names.

    Raises:
        PresetError: the index is damaged, names a file elsewhere, or one is missing.
    """
    names: set[str] = set()
    shards = read_json(index).get("weight_map")
    for value in shards.values() if isinstance(shards, dict) else ():
        names.update(map(str, value if isinstance(value, list) else [value]))
    if not names or any(not n or Path(n).name != n for n in names):
        raise PresetError(
            f"{index} does not list weight files of its own folder; copy or download "
            "it again."
        )
    files = [index.parent / name for name in sorted(names)]
    for file in files:
        if not file.is_file():
            raise PresetError(
                f"{file} is missing, although {index.name} names it; copy the "
                "preset's folder with all its files."
            )
    return files


def build_tokenizer(build: Callable[[], Tokenizer], file: Path) -> Tokenizer:
    """Build a tokenizer; what it rejects names the file.

    Raises:
        PresetError: the vocabulary cannot be used.
    """
    try:
        return build()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PresetError(f"{file} cannot be used: {error}") from error


def read_wordpiece_tokenizer(
    vocabulary: Path, *, lowercase: bool, strip_accents: bool | None
) -> Tokenizer:
    """Read a WordPiece vocabulary, one token a line.

    Raises:
        PresetError: the file is missing or lacks BERT's special tokens.
    """
    # Only "\n" ends a token: the multilingual vocabularies hold U+2028 and the like.
    tokens = read_text(vocabulary).removesuffix("\n").split("\n")
    return build_tokenizer(
        lambda: Tokenizer.from_wordpiece_vocabulary(
            tokens, lowercase=lowercase, strip_accents=strip_accents
        ),
        vocabulary,
    )


def read_bpe_tokenizer(
    vocabulary: Path, merges: Path, *, add_prefix_space: bool
) -> Tokenizer:
    """Read a byte-level BPE vocabulary and its merges.

    Raises:
        PresetError: a file is missing or lacks RoBERTa's special tokens.
    """
    tokens, lines = read_json(vocabulary), read_text(merges).split("\n")
    return build_tokenizer(
        lambda: Tokenizer.from_bpe(tokens, lines, add_prefix_space=add_prefix_space),
        vocabulary,
    )


def check_tokenizer(tokenizer: Tokenizer, config: EncoderConfig, folder: Path) -> None:
    """Check that every token id has a row in the embedding table.

    Raises:
        PresetError: the vocabulary is larger than the table.
    """
    size = tokenizer.vocabulary_size
    if size > config.vocabulary_size:
        raise PresetError(
            f"{folder} has a vocabulary of {size} tokens but embeddings for "
            f"{config.vocabulary_size}; take both from one checkpoint."
        )
