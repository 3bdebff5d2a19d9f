"""What a model is compiled with: a compiler, and an optimizer of its weights."""

import functools
import logging
import os
import shutil
import sys

import keras
import torch

from kbert.engine.optimizers import FusedUpdate, can_fuse

_logger = logging.getLogger("kbert")


def find_compile_failure() -> str | None:
    """Try whether torch compiles a sum here.

    Returns:
        Why it does not, as a sentence's end; `None` where it does.
    """
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX") or usual
    path = shutil.which(name)
    if path is None:
        return f"{name} was not found"
    reason = _try_compiler(path)
    return None if reason is None else f"{name} failed ({reason})"


@functools.cache
def _try_compiler(path: str) -> str | None:
    try:
        torch.compile(lambda x: x + 1)(torch.ones(8))
    except Exception as error:  # whatever a compiler or its headers lack
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return lines[0][:120]
    return None


def check_knows(optimizer, variables) -> None:
    """Refuse weights that train since the optimizer made its own variables."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # it scales the loss
    known = {id(variable) for variable in inner._trainable_variables}
    if any(id(variable) not in known for variable in variables):
        raise ValueError(
            "weights train now that did not when the model was compiled; compile again "
            "after kbert.unfreeze or a change of trainable."
        )


def build_update(model) -> FusedUpdate | None:
    """Build the fused update of a model's trainable weights.

    Args:
        model: compiled; its optimizer is built.

    Returns:
        `None` where Keras's own update is used, which is said in one line: for an
        optimizer, a constraint or a device that the engine does not know.

    Raises:
        ValueError: weights train that the optimizer does not know.
    """
    optimizer, variables = model.optimizer, model.trainable_variables
    if not variables or optimizer is None:
        return None
    check_knows(optimizer, variables)
    device = variables[0].value.device.type
    unknown = None
    if device not in ("cpu", "cuda"):
        unknown = f"the device {device}"
    elif not can_fuse(optimizer) or any(v.constraint is not None for v in variables):
        unknown = f"{type(optimizer).__name__} with these settings"
    if unknown is None:
        return FusedUpdate(optimizer, variables)
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        _logger.warning(
            "The engine does not know %s; Keras's own, slower update is used.", unknown
        )
    return None
