"""A `.keras` file is looked at before Keras reads it: it may be somebody's trap."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import keras

from kbert.saved_model import FILE_FORMAT

_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
# Weights hardly shrink when they are packed, and Keras does not pack them.
_LARGEST_RATIO = 30
_LARGEST_CONFIG_BYTES = 50_000_000
# Classes of these modules, and registered ones, are built; nothing is imported.
_MODULES = ("keras", "kbert")


def check_model_file(path: Path) -> None:
    """Refuse a file that Keras cannot read, or that would have it do more than read.

    Args:
        path: a `.keras` file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of a newer kbert, or holds what runs code, writes
            elsewhere or fills the memory.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}; check the path.")
    config = _read_config(path)
    inner = config.get("config") if isinstance(config, dict) else None
    if not isinstance(inner, dict):
        raise ValueError(f"{path} holds no Keras model. Save the model again.")
    for part in _find_objects(config):
        _check_object(part, path)
    own = inner.get("kbert") or {}
    if own.get("format", FILE_FORMAT) > FILE_FORMAT:
        raise ValueError(
            f"{path} has file format {own['format']}, and this kbert reads up to "
            f"{FILE_FORMAT}. Upgrade kbert to load it."
        )


def _read_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            damaged = archive.testzip()
            config = json.loads(archive.read(_CONFIG))
    except _Refusal:
        raise
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        EOFError,
        OSError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise ValueError(
            f"{path} is damaged or no .keras file. Save the model again."
        ) from error
    if damaged is not None:
        raise ValueError(
            f"{path} is damaged: {damaged} fails its checksum. Save the model again."
        )
    return config


class _Refusal(ValueError):
    """A file that is no accident."""


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse members that lie elsewhere, or that are far larger than the file."""
    size = path.stat().st_size
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in member.filename:
            raise _Refusal(
                f"{path} cannot be loaded: its part {member.filename!r} would be "
                "written outside of the file. Take the model from its author again."
            )
        largest = (
            _LARGEST_CONFIG_BYTES
            if member.filename == _CONFIG
            else _LARGEST_RATIO * size
        )
        if member.file_size > largest:
            raise _Refusal(
                f"{path} cannot be loaded: its part {member.filename!r} unpacks to "
                f"{member.file_size:,} bytes, out of {size:,}. Take the model from its "
                "author again."
            )


def _find_objects(config: Any) -> Iterator[dict]:
    """Find every object that a configuration asks Keras to build."""
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if "class_name" in part:
                yield part
            pending += part.values()
        elif isinstance(part, list):
            pending += part


def _check_object(part: dict, path: Path) -> None:
    """Refuse an object of another package that is not registered in this process."""
    name, module = part.get("class_name"), part.get("module")
    if name == "Lambda" or name == "__lambda__":
        raise ValueError(
            f"{path} cannot be loaded: it holds a Lambda layer, and no code from a "
            "file is run. Save the model with a registered layer in its place."
        )
    registered = part.get("registered_name")
    is_known = any(
        one and keras.saving.get_registered_object(str(one)) is not None
        for one in (registered, name, part.get("config"))
        if isinstance(one, str)
    )
    package = str(module).partition(".")[0]
    if module is None or is_known or package in _MODULES:
        return
    if module == "builtins" and name in _BUILTINS:
        return
    raise ValueError(
        f"{path} cannot be loaded: it asks for {module}.{name}, which is neither "
        "Keras's nor registered here, and no code from a file is run. If it is your "
        "own layer, import the module that registers it first."
    )


# How Keras writes down functions, and plain values that JSON has no form for.
_BUILTINS = ("function", "__tuple__", "__tensor__", "__numpy__", "__bytes__", "slice")
