"""Encoders to measure: presets, and random weights in well-known shapes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.workloads import ROOT, SAMPLES
from kbert.data import load_split
from kbert.engine.config import EncoderConfig
from kbert.presets import Preset, PresetError, load_preset
from kbert.presets.arrays import StoredArray
from kbert.presets.variables import variable_shapes
from kbert.text import Tokenizer

EMBEDDED = "all_minilm_l6_v2_en"
HEAD = ("head/kernel", "head/bias")
# Layers, heads, hidden and intermediate dimensions.
SHAPES = {
    "bert-base-random": (12, 12, 768, 3072),
    "minilm-random": (6, 12, 384, 1536),
    "tiny-random": (2, 2, 32, 64),
}


def load_encoder(name: str, *, num_layers: int | None = None) -> Preset:
    """Load a preset, or describe one with random weights.

    Args:
        name: key of `SHAPES`, or what `kbert.load_preset` takes. The environment
            variable KBERT_BENCHMARK_WEIGHTS names a folder to take for the embedded
            preset where its package is absent.
        num_layers: for a random encoder, instead of its own number.

    Returns:
        A preset of the BERT family; without variables when its weights are random.

    Raises:
        ValueError: the preset is of another family.
    """
    if name in SHAPES:
        return _describe_random(name, num_layers)
    folder = os.environ.get("KBERT_BENCHMARK_WEIGHTS")
    if folder and name == EMBEDDED:
        source = "a folder named by KBERT_BENCHMARK_WEIGHTS"
        preset = replace(load_preset(Path(folder)), name=name, source=source)
    else:
        preset = load_preset(name)
        if Path(name).is_dir():  # a record must not tell where somebody keeps files
            preset = replace(preset, name=Path(name).name, source="a folder")
    if preset.config.family != "bert":
        raise ValueError(
            f"--preset must name a BERT encoder, which all opponents know; {name!r} is "
            f"of the family {preset.config.family!r}."
        )
    return preset


def make_weights(preset: Preset, num_classes: int, seed: int = 0) -> dict:
    """Return the weights that every side starts from.

    Args:
        preset: of `load_encoder`.
        num_classes: units of the head.
        seed: of what is random.

    Returns:
        float32 arrays by KerasHub's variable paths, and `HEAD`.
    """
    generator = np.random.default_rng(seed)
    loaded = preset.load_weights()
    weights = {
        path: loaded[path] if path in loaded else _draw(generator, path, shape)
        for path, shape in variable_shapes(preset.config).items()
    }
    shapes = ((preset.config.hidden_dim, num_classes), (num_classes,))
    for path, shape in zip(HEAD, shapes, strict=True):
        weights[path] = _draw(generator, path, shape)
    return weights


def fill_preset(preset: Preset, weights: dict) -> Preset:
    """Return the preset with other weights, those of `make_weights`."""
    variables = {
        path: StoredArray(Path(preset.name), path, array.shape, True, lambda a=array: a)
        for path, array in weights.items()
        if path not in HEAD
    }
    return replace(preset, variables=variables)


def _draw(generator, path: str, shape: tuple[int, ...]) -> np.ndarray:
    if path.endswith(("/bias", "/beta")):
        return np.zeros(shape, "float32")
    if path.endswith("/gamma"):
        return np.ones(shape, "float32")
    return generator.normal(0, 0.02, shape).astype("float32")


def _describe_random(name: str, num_layers: int | None) -> Preset:
    layers, heads, hidden, inner = SHAPES[name]
    tokenizer, origin = _find_tokenizer()
    config = EncoderConfig(
        family="bert",
        vocabulary_size=30_522,
        num_layers=num_layers or layers,
        num_heads=heads,
        hidden_dim=hidden,
        intermediate_dim=inner,
    )
    source = f"random weights; vocabulary: {origin}"
    return Preset(name, source, config, "pooler", tokenizer, {})


def _find_tokenizer() -> tuple[Tokenizer, str]:
    """Return BERT's tokenizer, or one of the bundled sample's words."""
    try:
        return load_encoder(EMBEDDED).tokenizer, "bert-base-uncased"
    except PresetError:
        pass
    data = Path(os.environ.get("KBERT_TEST_DATA", ROOT / ".." / "shared" / "data"))
    for path in sorted((data / "vocab").glob("*vocab*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        return Tokenizer.from_wordpiece_vocabulary(lines), "bert-base-uncased"
    texts = load_split(SAMPLES / "tweets/train.csv", text="text", label="target").texts
    words = sorted({word.lower() for text in texts for word in text.split()})
    characters = sorted(set("".join(words)))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    vocabulary += [f"##{one}" for one in characters]
    vocabulary += [word for word in words if len(word) > 1]
    return Tokenizer.from_wordpiece_vocabulary(vocabulary), "the bundled sample's words"
