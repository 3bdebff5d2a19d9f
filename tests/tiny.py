"""A tiny encoder with a hand-written vocabulary, and texts that it can learn."""

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import kbert
from kbert.engine.config import EncoderConfig
from kbert.presets import Preset, variable_shapes
from kbert.presets.arrays import StoredArray
from kbert.text import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
# Matrices of this size gain nothing from a second thread, and wait for it.
torch.set_num_threads(1)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a film plot story actor ending is was not"
WORDS += (
    " very too and but so ##s ##ly , . ! good great fine lovely warm bad awful dull"
)
VOCABULARY = (WORDS + " cold poor").split()
PLEASANT = ("good", "great", "fine", "lovely", "warm")
UNPLEASANT = ("bad", "awful", "dull", "cold", "poor")
POOLINGS = {"bert": "pooler", "distil_bert": "cls", "roberta": "cls"}


def build_preset(family: str = "bert", *, seed: int = 0, **changes) -> Preset:
    """Return a preset of two layers, 16 wide, with random weights."""
    shape = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    shape |= {"vocabulary_size": len(VOCABULARY), "max_sequence_length": 24}
    pooling = changes.pop("pooling", POOLINGS[family])
    config = EncoderConfig(family=family, **(shape | changes))
    tokenizer = Tokenizer.from_wordpiece_vocabulary(VOCABULARY)
    if family == "roberta":
        tokenizer = dataclasses.replace(tokenizer, pair_separators=2)
    generator = np.random.default_rng(seed)
    variables = {
        path: _store(path, shape, generator)
        for path, shape in variable_shapes(config).items()
    }
    return Preset("tiny", "tests/tiny.py", config, pooling, tokenizer, variables)


def _store(path: str, shape: tuple[int, ...], generator) -> StoredArray:
    value = generator.normal(0, 0.3, shape).astype("float32")
    value += path.endswith("gamma")
    return StoredArray(Path("tiny"), path, shape, True, lambda: value)


def write_texts(num_texts: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Return texts of one to four sentences and labels, 1 for the pleasant."""
    generator = np.random.default_rng(seed)
    texts, labels = [], generator.integers(0, 2, num_texts)
    for label in labels:
        words = (UNPLEASANT, PLEASANT)[label]
        sentences = [
            f"the {generator.choice(['film', 'plot', 'story'])} "
            f"{generator.choice(['is', 'was'])} {generator.choice(words)}"
            for _ in range(generator.integers(1, 5))
        ]
        texts.append(" and ".join(sentences))
    return texts, labels.astype("int32")


def build_model(family: str = "bert", *, compile: bool = True, **changes):
    """Return a small classifier of two classes, seeded, in float32.

    Args:
        family: of the encoder.
        compile: whether to compile it, with kbert's AdamW unless told.
        **changes: `dropout` of encoder and head, `pooling` of the preset, `seed`,
            `optimizer`, `loss`, and what `build_classifier` takes.
    """
    shared = {"dropout": changes["dropout"]} if "dropout" in changes else {}
    if "pooling" in changes:
        shared["pooling"] = changes.pop("pooling")
    preset = build_preset(family, **shared)
    kbert.set_seed(changes.pop("seed", 0))
    optimizer = changes.pop("optimizer", None)
    loss = changes.pop("loss", "sparse_categorical_crossentropy")
    arguments = {"precision": "float32", "label_names": ["negative", "positive"]}
    model = kbert.build_classifier(preset, **(arguments | changes))
    if compile:
        optimizer = optimizer or kbert.adamw(1e-3)
        model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def read_weights(model) -> list[np.ndarray]:
    """Return copies; on a CPU Keras hands out its own memory."""
    return [np.array(weight) for weight in model.get_weights()]


def assert_same_weights(one, other) -> None:
    """Compare two models, or lists of arrays, bit for bit."""
    lists = [x if isinstance(x, list) else read_weights(x) for x in (one, other)]
    for first, second in zip(*lists, strict=True):
        np.testing.assert_array_equal(first, second)


def largest_difference(one, other) -> float:
    """Return the largest difference between two lists of arrays."""
    pairs = zip(one, other, strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def run_python(code: str, **environment: str) -> str:
    """Run code in a new process that finds these tests; return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextlib.contextmanager
def count_encoded_rows(model):
    """Count the rows that a model's preprocessor tokenizes, in a list of calls."""
    calls: list[int] = []
    encode = model.preprocessor.encode

    def count(texts, text_pairs=None):
        calls.append(len(texts))
        return encode(texts, text_pairs)

    model.preprocessor.encode = count
    try:
        yield calls
    finally:
        del model.preprocessor.encode
