"""What a model is compiled with: a compiler, and an optimizer of its weights."""

import os
import shutil
import sys


def find_missing_compiler() -> str | None:
    """Return the name of torch.compile's compiler where there is none, else `None`."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX") or usual
    return None if shutil.which(name) else name


def check_knows(optimizer, variables) -> None:
    """Refuse weights that train since the optimizer made its own variables."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # it scales the loss
    known = {id(variable) for variable in inner._trainable_variables}
    if any(id(variable) not in known for variable in variables):
        raise ValueError(
            "weights train now that did not when the model was compiled; compile again "
            "after kbert.unfreeze or a change of trainable."
        )
