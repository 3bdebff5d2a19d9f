"""Prove that the documented encoders build, train and save, without their weights.

Run:    python -m kbert.recipes.builds
Writes: recipes/builds/<preset>.json, and the cards anew

Weights and vocabularies of these encoders are downloads; their shapes are not. Each is
built with random weights and a vocabulary of its size, trained two steps on the
largest batch that a recipe trains it with, saved, loaded and compared, in a process
of its own, whose peak of memory is then its own too.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kbert import presets, report
from kbert.engine.config import EncoderConfig
from kbert.recipes import cards
from kbert.recipes.experiment import Experiment
from kbert.recipes.memory import read_peak
from kbert.recipes.records import BUILDS, find_experiments
from kbert.text import Tokenizer

SCHEMA = 1
NUM_STEPS = 2
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Layers, heads, width and inner width.
_SHAPES = {
    "bert_base_en_uncased": ("bert", 12, 12, 768, 3072),
    "bert_large_en_uncased": ("bert", 24, 16, 1024, 4096),
    "distil_bert_base_en_uncased": ("distil_bert", 12 // 2, 12, 768, 3072),
}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The largest batch that a recipe trains an encoder with.

    Args:
        preset: the encoder.
        batch_size: texts a step.
        max_length: tokens a text.
        learning_rate: of the run that has it.
    """

    preset: str
    batch_size: int
    max_length: int
    learning_rate: float


def describe_preset(name: str) -> presets.Preset:
    """Describe a documented encoder of random weights.

    Args:
        name: KerasHub's.

    Returns:
        A preset without variables; its vocabulary has the right size and no meaning.
    """
    family, layers, heads, hidden, inner = _SHAPES[name]
    words = [f"w{number}" for number in range(30_522 - len(_SPECIAL))]
    config = EncoderConfig(
        family=family,  # type: ignore[arg-type]
        vocabulary_size=30_522,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=hidden,
        intermediate_dim=inner,
    )
    tokenizer = Tokenizer.from_wordpiece_vocabulary([*_SPECIAL, *words])
    pooling: Literal["pooler", "cls"] = "pooler" if config.has_pooler else "cls"
    return presets.Preset(name, "random weights", config, pooling, tokenizer, {})


def find_batches(experiments: Mapping[str, Experiment]) -> list[Batch]:
    """Find the largest batch of each documented encoder.

    Args:
        experiments: by name.

    Returns:
        One for each encoder whose shape is known here.
    """
    found: dict[str, Batch] = {}
    for experiment in experiments.values():
        for variant in experiment.variants.values():
            name, settings = variant.preset or experiment.preset, variant.settings
            if name not in _SHAPES or settings.max_length is None:
                continue
            one = Batch(
                preset=name,
                batch_size=settings.batch_size,
                max_length=settings.max_length,
                learning_rate=settings.learning_rate,
            )
            if name not in found or _count(found[name]) < _count(one):
                found[name] = one
    return list(found.values())


def _count(batch: Batch) -> int:
    return batch.batch_size * batch.max_length


def build(batch: Batch) -> dict[str, Any]:
    """Build an encoder with a head, train it two steps, save it and load it.

    Args:
        batch: what to train it on.

    Returns:
        The record.
    """
    import keras
    import numpy as np

    import kbert

    kbert.set_seed(0)
    preset = describe_preset(batch.preset)
    model = kbert.build_classifier(
        preset, ["no", "yes"], max_length=batch.max_length, load_weights=False
    )
    model.compile(kbert.adamw(batch.learning_rate), "sparse_categorical_crossentropy")
    words = [f"w{number}" for number in range(batch.max_length)]
    texts = [" ".join(words[n:] + words[:n]) for n in range(batch.batch_size)]
    labels = [n % 2 for n in range(batch.batch_size)]
    losses: list[float] = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: losses.append(float(logs["loss"]))
    )
    started = time.perf_counter()
    model.fit(
        texts,
        labels,
        batch_size=batch.batch_size,
        epochs=NUM_STEPS,
        callbacks=[note],
        verbose=0,
    )
    seconds = time.perf_counter() - started
    peak = read_peak()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path, include_optimizer=False)
        loaded = kbert.load_model(path, compile=False)
        size = path.stat().st_size
    some = texts[:2]
    difference = float(np.abs(loaded.predict(some) - model.predict(some)).max())
    environment = report.describe_environment()
    return {
        "schema": SCHEMA,
        **vars(batch),
        "num_parameters": presets.count_parameters(preset.config),
        "num_steps": NUM_STEPS,
        "losses": losses,
        "seconds": seconds,
        "peak_bytes": peak,
        "file_bytes": size,
        "reload_difference": difference,
        "precision": str(model.backbone.compute_precision).split(".")[-1],
        "environment": {k: environment[k] for k in ("python", "packages", "cpu")},
    }


def _build_apart(batch: Batch) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "kbert.recipes.builds", "--one"],
        input=json.dumps(vars(batch)),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise RuntimeError(f"{batch.preset} could not be built: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Build every documented encoder, and write the records and the cards.

    Returns:
        Exit code.
    """
    if sys.argv[1:] == ["--one"]:
        print(json.dumps(build(Batch(**json.load(sys.stdin)))))
        return 0
    root = Path("recipes")
    if not root.is_dir():
        sentence = "there is no folder recipes here; run this at the top of a checkout."
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    (root / BUILDS).mkdir(exist_ok=True)
    for batch in find_batches(find_experiments()):
        print(f"Builds    {batch.preset}", flush=True)
        record = _build_apart(batch)
        report.RunFolder(root / BUILDS).write_json(f"{batch.preset}.json", record)
    for path in cards.write_cards(root):
        print(f"Wrote     {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
