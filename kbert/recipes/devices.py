"""Where a recipe computes."""

import contextlib
from contextlib import AbstractContextManager
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]


def use_device(device: Device) -> AbstractContextManager:
    """Make Keras build and train on a device within a block.

    Args:
        device: `auto` is Keras's own choice: the GPU where there is one.

    Returns:
        The block's context.

    Raises:
        RuntimeError: `cuda` was asked for and torch finds no CUDA GPU.
    """
    if device == "auto":
        return contextlib.nullcontext()
    import keras
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            "--device cuda needs a CUDA GPU and a torch built for it; torch finds "
            "none. Use --device cpu or auto."
        )
    return keras.device(device)
