"""Folders for Keras and for safetensors' readers, under KerasHub's names."""

import dataclasses
from pathlib import Path

from kbert.exporting.folder import write_json
from kbert.exporting.head import read_parts
from kbert.exporting.hugging_face import describe_for_kbert, name_labels, save_arrays
from kbert.exporting.keras_hub import write_keras_hub
from kbert.exporting.tokenizer_files import write_tokenizer
from kbert.models import MODEL_FILE, Model


def write_keras(folder: Path, model: Model) -> None:
    """Write the model without its optimizer, and its backbone as KerasHub's preset.

    Args:
        folder: exists and is empty.
        model: what to write.
    """
    model.save(folder / MODEL_FILE, include_optimizer=False)
    backbone = folder / "backbone"
    backbone.mkdir()
    write_keras_hub(backbone, model)


def write_safetensors(folder: Path, model: Model) -> None:
    """Write all weights under KerasHub's names, what they belong to, and the tokenizer.

    Args:
        folder: exists and is empty.
        model: what to write.

    Raises:
        ValueError: the head is no row of dense layers.
    """
    assert model.preprocessor is not None
    parts = read_parts(model)
    head = parts.head
    layers = [(f"head_hidden_{i}", dense) for i, dense in enumerate(head.hidden)]
    layers.append(("head", head.last))
    arrays = {f"backbone/{path}": array for path, array in parts.weights.items()}
    for name, dense in layers:
        arrays |= {f"{name}/kernel": dense.kernel, f"{name}/bias": dense.bias}
    save_arrays(arrays, folder / "model.safetensors")
    names = [] if head.task == "answer" else name_labels(model, len(head.last.bias))
    write_json(
        folder / "config.json",
        {
            "backbone": dataclasses.asdict(parts.config),
            "head": [
                {"name": name, "units": len(dense.bias), "activation": dense.activation}
                for name, dense in layers
            ],
            "label_names": names,
            **describe_for_kbert(model, parts),
        },
    )
    write_tokenizer(folder, model.preprocessor)
