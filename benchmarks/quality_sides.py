"""Whole trainings to compare models by: kbert's and the Hugging Face Trainer's."""

import gc
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.emulation import emulate_if
from benchmarks.keras_sides import build_kbert, compile_kbert
from benchmarks.tasks import CLIP, EPSILON, WEIGHT_DECAY, Task, select_rows
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
        predictions: of the held-out rows: probabilities (n, num_classes), scores
            (n, 1), or what kbert's task predicts.
        seconds: of the training, data loading included.
        num_steps: updates.
        num_emulated: products that were emulated.
    """

    predictions: Sequence[Any] | np.ndarray = field(repr=False)
    seconds: float
    num_steps: int
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
    model, size = build_kbert(task), task.batch_size
    rest = task.workload.select(held_out)
    started = time.perf_counter()
    inputs, num_rows = _feed(model, select_rows(task, rows), recipe.seed)
    optimizer = kbert.adamw(
        recipe.learning_rate,
        schedule="linear",
        epochs=recipe.epochs,
        examples=num_rows,
        batch_size=size,
        weight_decay=WEIGHT_DECAY,
        epsilon=EPSILON,
        global_clipnorm=CLIP,
    )
    compile_kbert(task, model, optimizer)
    with emulate_if(emulate) as products:
        model.fit(*inputs, batch_size=size, epochs=recipe.epochs, verbose=0)
        seconds = time.perf_counter() - started
        if rest.part is None:
            texts = rest.take(range(len(rest)))
            predictions = model.predict(texts, batch_size=size)
        else:
            predictions = task.problem.task.predict(model, rest.part, batch_size=size)
    num_steps = -(-num_rows // size) * recipe.epochs
    return Trained(predictions, seconds, num_steps, products.count if products else 0)


def _feed(model, task: Task, seed: int) -> tuple[tuple, int]:
    """Return what `fit` takes for all rows, and how many these are."""
    workload = task.workload
    if workload.part is None:
        texts = workload.take(range(len(workload)))
        return (texts, workload.labels), len(texts)
    batches = task.problem.task.feed(model, workload.part, task.batch_size, seed)
    return (batches,), len(batches.windows)


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
    side = _WholeTrainer(select_rows(task, rows), "trainer-dynamic")
    seconds, num_steps = side.train_whole(recipe)
    return Trained(_predict(side, select_rows(task, held_out)), seconds, num_steps)


def _predict(side: TrainerSide, held_out: Task) -> Sequence[Any] | np.ndarray:
    """Predict rows; windows are read and put together as kbert's task does."""
    workload, size = held_out.workload, held_out.batch_size
    if workload.part is not None:
        model = held_out.stand_in(side.predict_on_batch)
        predict = held_out.problem.task.predict
        return predict(model, workload.part, batch_size=size)
    encoded = held_out.encoded
    return np.concatenate(
        [
            side.predict_on_batch(encoded[start : start + size].pad())
            for start in range(0, len(encoded), size)
        ]
    )


class _WholeTrainer(TrainerSide):
    """The Trainer over all epochs, with its own random order of the rows."""

    def train_whole(self, recipe: Recipe) -> tuple[float, int]:
        """Train a fresh model; return the seconds without tokenizing, and updates."""
        from transformers import PrinterCallback, Trainer

        self._model = build_transformers_model(self.task)
        folder = tempfile.mkdtemp(prefix="kbert-benchmark-")
        try:
            trainer = Trainer(
                model=self._model,
                args=self._build_arguments(recipe, folder),
                train_dataset=self._build_dataset(np.arange(len(self.task.encoded))),
                data_collator=self._build_collator(),
            )
            trainer.remove_callback(PrinterCallback)
            started = time.perf_counter()
            trainer.train()
            return time.perf_counter() - started, trainer.state.global_step
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
