"""A trained model as files that other libraries load."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from kbert.exporting.folder import write_whole
from kbert.exporting.head import Parts, read_parts
from kbert.exporting.hugging_face import write_hugging_face
from kbert.models import Model, load_model

Format = Literal["huggingface", "onnx", "safetensors", "keras"]

_WRITERS: dict[str, Callable[[Path, Model, Parts], Any]] = {
    "huggingface": write_hugging_face,
}


def export(
    model: Model | str | os.PathLike,
    format: Format,
    out: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> Path:
    out = Path(out)
    if not isinstance(model, Model):
        model = load_model(model, compile=False)
    parts = read_parts(model)
    with write_whole(out, overwrite) as folder:
        _WRITERS[format](folder, model, parts)
    return out
