"""Where a model is built and computes."""

import contextlib
from contextlib import AbstractContextManager
from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda"]


def use_device(device: str) -> AbstractContextManager:
    """Make Keras build and train on a device within a block.

    Args:
        device: `auto` is Keras's own choice, the GPU where there is one; `cpu`; or
            `cuda`, also with a number, `cuda:1`.

    Returns:
        The block's context.

    Raises:
        ValueError: there is no such kind of device.
        RuntimeError: a CUDA GPU was asked for that torch does not find.
    """
    if device == "auto":
        return contextlib.nullcontext()
    import keras
    import torch

    kind, _, number = device.replace("gpu", "cuda").partition(":")
    if kind not in get_args(Device) or not (number or "0").isdecimal():
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1' and the like; received "
            f"{device!r}."
        )
    num_gpus = torch.cuda.device_count()
    if kind == "cuda" and int(number or 0) >= num_gpus:
        raise RuntimeError(
            f"--device {device} needs such a CUDA GPU and a torch built for it; torch "
            f"finds {num_gpus or 'none'}. Use --device cpu or auto."
        )
    return keras.device(device.replace("gpu", "cuda"))
