"""Whole trainings to compare models by: kbert's and the Hugging Face Trainer's."""

import gc
import shutil
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.emulation import emulate_if
from benchmarks.keras_sides import LOSS, build_kbert
from benchmarks.tasks import CLIP, EPSILON, WEIGHT_DECAY, Task
from benchmarks.trainer_side import TrainerSide
from benchmarks.transformers_model import build_transformers_model


@dataclass(frozen=True)
class Recipe:
    """What both sides train with, besides a task's batch size and weights.

    Args:
        learning_rate: of the first update; it falls to 0 in a line.
        epochs: passes over the rows.
        seed: of the order of the rows and of dropout.
    """

    learning_rate: float
    epochs: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """One whole training.

    Args:
        probabilities: (n, num_classes) of the held-out rows.
        seconds: of the training, data loading included.
        num_emulated: products that were emulated.
    """

    probabilities: np.ndarray = field(repr=False)
    seconds: float
    num_emulated: int = 0


def train_kbert(
    task: Task, recipe: Recipe, rows: np.ndarray, held_out: np.ndarray, emulate: bool
) -> Trained:
    """Train with kbert as its users do: texts into `fit`, the optimizer it documents.

    Args:
        task: what to train, in its precision.
        recipe: how.
        rows: to train on; `fit` puts them into a random order.
        held_out: rows to predict afterwards.
        emulate: whether bfloat16 products are emulated.
    """
    import kbert

    gc.collect()
    kbert.set_seed(recipe.seed)
    model = build_kbert(task)
    optimizer = kbert.adamw(
        recipe.learning_rate,
        schedule="linear",
        epochs=recipe.epochs,
        examples=len(rows),
        batch_size=task.batch_size,
        weight_decay=WEIGHT_DECAY,
        epsilon=EPSILON,
        global_clipnorm=CLIP,
    )
    model.compile(optimizer, LOSS)
    workload, size = task.workload, task.batch_size
    with emulate_if(emulate) as products:
        started = time.perf_counter()
        model.fit(
            workload.take(rows),
            workload.labels[rows],
            batch_size=size,
            epochs=recipe.epochs,
            verbose=0,
        )
        seconds = time.perf_counter() - started
        probabilities = model.predict(workload.take(held_out), batch_size=size)
    return Trained(probabilities, seconds, products.count if products else 0)


def train_trainer(
    task: Task, recipe: Recipe, rows: np.ndarray, held_out: np.ndarray
) -> Trained:
    """Train with the Trainer's own defaults, padding to the longest of a batch.

    Args:
        task: what to train.
        recipe: how.
        rows: to train on; the Trainer puts them into a random order.
        held_out: rows to predict afterwards.
    """
    gc.collect()
    side = _WholeTrainer(task, "trainer-dynamic")
    seconds = side.train_whole(recipe, rows)
    size = task.batch_size
    parts = [
        side.predict(held_out[start : start + size])
        for start in range(0, len(held_out), size)
    ]
    return Trained(np.concatenate(parts), seconds)


class _WholeTrainer(TrainerSide):
    """The Trainer over all epochs, with its own random order of the rows."""

    def train_whole(self, recipe: Recipe, rows: np.ndarray) -> float:
        """Train a fresh model; return the seconds, tokenizing not among them."""
        from transformers import PrinterCallback, Trainer

        self._model = build_transformers_model(self.task)
        folder = tempfile.mkdtemp(prefix="kbert-benchmark-")
        try:
            trainer = Trainer(
                model=self._model,
                args=self._build_arguments(recipe, folder),
                train_dataset=self._build_dataset(rows),
                data_collator=self._build_collator(),
            )
            trainer.remove_callback(PrinterCallback)
            started = time.perf_counter()
            trainer.train()
            return time.perf_counter() - started
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _build_arguments(self, recipe: Recipe, folder: str):
        from transformers import TrainingArguments

        return TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=self.task.batch_size,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="linear",
            weight_decay=WEIGHT_DECAY,
            adam_epsilon=EPSILON,
            max_grad_norm=CLIP,
            seed=recipe.seed,
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=self.task.device == "cpu",
        )
