"""A tiny checkpoint as a folder, for commands, which name presets by their place."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tiny import VOCABULARY

_HIDDEN, _INNER, _LAYERS, _LONGEST = 16, 32, 2, 24


def write_preset_folder(folder: Path, seed: int = 0) -> Path:
    """Write a BERT encoder with random weights as transformers would."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": _INNER,
        "max_position_embeddings": _LONGEST,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    generator = np.random.default_rng(seed)
    save_file(_draw(generator), folder / "model.safetensors")
    return folder


def _draw(generator: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"embeddings.word_embeddings": (len(VOCABULARY), _HIDDEN)}
    shapes["embeddings.position_embeddings"] = (_LONGEST, _HIDDEN)
    shapes["embeddings.token_type_embeddings"] = (2, _HIDDEN)
    shapes["pooler.dense"] = (_HIDDEN, _HIDDEN)
    norms = ["embeddings.LayerNorm"]
    for layer in range(_LAYERS):
        place = f"encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{place}.attention.{name}"] = (_HIDDEN, _HIDDEN)
        shapes[f"{place}.intermediate.dense"] = (_INNER, _HIDDEN)
        shapes[f"{place}.output.dense"] = (_HIDDEN, _INNER)
        norms += [f"{place}.attention.output.LayerNorm", f"{place}.output.LayerNorm"]
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}.weight"] = generator.normal(0, 0.3, shape).astype("float32")
        if not name.startswith("embeddings"):
            arrays[f"{name}.bias"] = np.zeros(shape[0], "float32")
    for name in norms:
        arrays[f"{name}.weight"] = np.ones(_HIDDEN, "float32")
        arrays[f"{name}.bias"] = np.zeros(_HIDDEN, "float32")
    return arrays
