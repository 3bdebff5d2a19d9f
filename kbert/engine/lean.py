"""Keras's saving and loading without a detour over TensorFlow, and whole or not."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from keras.src.utils.module_utils import tensorflow


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Keep Keras from importing TensorFlow just to ask whether an object is its own.

    Saving, loading and seeding do so where TensorFlow is installed (KerasHub brings
    it), which costs seconds and threads. Nothing changes when it is already loaded.
    """
    before = tensorflow._available
    if "tensorflow" not in sys.modules:
        tensorflow._available = False
    try:
        yield
    finally:
        tensorflow._available = before


@contextlib.contextmanager
def replace_whole(path: Path, overwrite: bool) -> Iterator[Path]:
    """Let a block write a file beside `path` that takes its place once it is whole."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path.parent}; create it or save elsewhere."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; pass overwrite=True or choose another file."
        )
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.keras")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
