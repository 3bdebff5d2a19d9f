"""What all sides of a training comparison are given, and what they give back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from benchmarks.encoders import load_encoder, make_weights
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.workloads import Workload, load_workload
from kbert.encoded import Encoded
from kbert.presets import Preset
from kbert.text import Preprocessor

LEARNING_RATE = 2e-5
WEIGHT_DECAY = 0.01
EPSILON = 1e-8
DROPOUT = 0.1
CLIP = 1.0
# Until kbert on a GPU has recorded the shapes of batch that come most.
WARMUP_STEPS = {"cpu": 3, "cuda": 60}


@dataclass(frozen=True)
class Task:
    """One workload, one encoder, one set of weights.

    Rows are texts, or the windows over them of a workload whose labels lie in them.

    Args:
        workload: texts and labels.
        preset: the encoder.
        weights: what every side starts from; see `encoders.make_weights`.
        batch_size: texts a step.
        device: `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
    """

    workload: Workload
    preset: Preset
    weights: dict[str, np.ndarray] = field(repr=False)
    batch_size: int
    device: str
    precision: str

    @property
    def problem(self) -> Problem:
        """What is peculiar to the workload's task."""
        return PROBLEMS[self.workload.kind]

    @cached_property
    def windows(self) -> Any:
        """The windows of tagged sentences or questions with labels, else `None`."""
        if self.workload.part is None:
            return None
        return encode_windows(self, self.stand_in())

    @cached_property
    def encoded(self) -> Encoded:
        """The rows as token ids, cut to the workload's length: everybody's."""
        workload = self.workload
        if self.windows is not None:
            return self.windows.encoded
        return self.build_preprocessor().encode(workload.texts, workload.text_pairs)

    @property
    def max_length(self) -> int:
        """What rows are padded to by those who pad, in tokens."""
        return self.workload.max_length

    @property
    def lengths(self) -> np.ndarray:
        """Real tokens of each row."""
        return self.encoded.lengths

    def label(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return labels, and weights where they have some, of some rows.

        Tags are padded to the longest of the rows; padding weighs nothing.
        """
        if self.windows is not None:
            return self.windows.label(rows)
        return (self.workload.labels[rows],)

    def stand_in(self, predict_on_batch: Callable | None = None) -> Any:
        """Return what kbert's tasks take for a model of windows.

        Args:
            predict_on_batch: of another model, arrays to kbert's outputs.
        """
        return SimpleNamespace(
            preprocessor=self.build_preprocessor(),
            label_names=self.workload.label_names,
            metadata={},
            predict_on_batch=predict_on_batch,
        )

    def build_preprocessor(self) -> Preprocessor:
        """Return what makes ids of the workload's texts."""
        return Preprocessor(
            self.preset.tokenizer,
            max_length=self.max_length,
            clean=self.workload.clean,
        )


@dataclass(frozen=True)
class TrainingRun:
    """One timed run of one side.

    Args:
        seconds: of the timed steps, data loading included.
        whole_seconds: of the whole call, warm-up and preparation included.
        training_loss: mean over the call's steps, warm-up included.
    """

    seconds: float
    whole_seconds: float
    training_loss: float


class Side(Protocol):
    """Something that trains the task's model through its own public interface."""

    name: str
    settings: dict[str, Any]

    def train(self, rows: np.ndarray, num_warmup: int) -> TrainingRun:
        """Start from the task's weights and train on the rows in their order.

        Args:
            rows: int (num_steps * batch_size,), warm-up first.
            num_warmup: steps before the clock starts.
        """

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the outputs of the model as trained last, as kbert's model has them.

        Probabilities (n, num_classes), (n, length, num_classes) or (n, 2, length), or
        scores (n, 1).
        """


class StepClock:
    """Reads the time after the last warm-up step and after the last step.

    Args:
        num_warmup: steps that are not timed.
        num_steps: steps in all.
        device: what to wait for before a clock is read.
    """

    def __init__(self, num_warmup: int, num_steps: int, device: str):
        self._ends = (num_warmup, num_steps)
        self._device = device
        self._marks: dict[int, float] = {}

    def finish_step(self, count: int) -> None:
        """Note that so many steps are done."""
        if count in self._ends:
            synchronize(self._device)
            self._marks[count] = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time of the timed steps."""
        first, last = self._ends
        return self._marks[last] - self._marks[first]


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def build_task(
    *,
    workload: str,
    preset: str,
    batch_size: int,
    device: str,
    precision: str,
    max_length: int | None = None,
    num_layers: int | None = None,
    limit: int | None = None,
) -> Task:
    """Load texts and encoder and fix the weights; see `Task`.

    Args:
        workload: key of `workloads.SOURCES`.
        preset: see `encoders.load_encoder`.
        batch_size: texts a step.
        device: `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        max_length: instead of the workload's own, in tokens.
        num_layers: of a random encoder, instead of its own.
        limit: most rows to keep.
    """
    texts = load_workload(workload, max_length=max_length, limit=limit)
    encoder = load_encoder(preset, num_layers=num_layers)
    weights = make_weights(encoder, texts.num_classes)
    return Task(texts, encoder, weights, batch_size, device, precision)


def encode_windows(task: Task, model: Any) -> Any:
    """Tokenize all sentences or questions of a workload.

    Args:
        task: whose workload has them.
        model: with a preprocessor.

    Returns:
        The windows with labels, in the workload's order.
    """
    feed = task.problem.task.feed
    return feed(model, task.workload.part, task.batch_size, None).windows


def select_rows(task: Task, rows: np.ndarray) -> Task:
    """Return a task with some of the workload's rows only, which may repeat."""
    return replace(task, workload=task.workload.select(rows))


def repeat_rows(task: Task, num_rows: int) -> Task:
    """Return a task with so many rows, repeating them where they do not suffice."""
    return select_rows(task, np.resize(np.arange(len(task.workload)), num_rows))
