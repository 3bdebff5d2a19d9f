"""Keras's saving and loading without a detour over TensorFlow."""

import contextlib
import sys
from collections.abc import Iterator

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
