"""The Hugging Face Trainer: as the sources use it, as most run it, at its best."""

import os
import shutil
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.machine import is_bfloat16_hopeless
from benchmarks.problems import build_collator, list_labels, read_output
from benchmarks.tasks import (
    CLIP,
    EPSILON,
    LEARNING_RATE,
    WEIGHT_DECAY,
    StepClock,
    Task,
    TrainingRun,
)
from benchmarks.transformers_model import build_tokenizer, build_transformers_model

_BEST = {"optim": "adamw_torch_fused"}
# Each setting is tried twice and the better time counts: the first to run finds the
# libraries cold.
_NUM_TRIALS = 2


class TrainerSide:
    """The Trainer in one of three ways.

    Args:
        task: what to train.
        name: `trainer` pads to the full length, in float32; `trainer-dynamic` pads to
            the longest of its batch, everything else as the Trainer has it;
            `trainer-best` does so with the given settings.
        settings: of `trainer-best`: arguments of `TrainingArguments`, and `attention`.
    """

    def __init__(self, task: Task, name: str, settings: dict[str, Any] | None = None):
        self.task, self.name = task, name
        self.settings = dict(settings or {})
        self._model = None

    def train(self, rows: np.ndarray, num_warmup: int) -> TrainingRun:
        """Train a fresh model on the rows in their order; see `tasks.Side`."""
        attention = self.settings.get("attention")
        self._model = build_transformers_model(self.task, attention=attention)
        clock = StepClock(
            num_warmup, len(rows) // self.task.batch_size, self.task.device
        )
        folder = tempfile.mkdtemp(prefix="kbert-benchmark-")
        try:
            trainer = self._build_trainer(rows, folder, clock)
            started = time.perf_counter()
            output = trainer.train()
            whole = time.perf_counter() - started
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            # TrainingArguments leaves it behind for every Trainer that follows.
            for name in ("ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_DYNAMO_MODE"):
                os.environ.pop(name, None)
        return TrainingRun(clock.seconds, whole, float(output.training_loss))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the model's outputs; see `tasks.Side`."""
        return self.predict_on_batch(self.task.encoded[rows].pad())

    def predict_on_batch(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Return the model's outputs for the arrays of a batch."""
        import torch

        model = self._model.eval()
        names = ("token_ids", "segment_ids", "padding_mask")
        tensors = [torch.from_numpy(arrays[n]).to(self.task.device) for n in names]
        ids, segments, mask = (tensor.long() for tensor in tensors)
        with torch.inference_mode():
            output = model(input_ids=ids, token_type_ids=segments, attention_mask=mask)
            return read_output(self.task, output, mask)

    def _build_trainer(self, rows, folder: str, clock: StepClock):
        from transformers import PrinterCallback, Trainer, TrainingArguments

        own = {key: v for key, v in self.settings.items() if key != "attention"}
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=self.task.batch_size,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            adam_epsilon=EPSILON,
            max_grad_norm=CLIP,
            lr_scheduler_type="constant",
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=self.task.device == "cpu",
            **own,
        )
        trainer = _build_ordered_trainer(Trainer)(
            model=self._model,
            args=arguments,
            train_dataset=self._build_dataset(rows),
            data_collator=self._build_collator(),
            callbacks=[_build_callback(clock)],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _build_dataset(self, rows) -> list[dict]:
        """Tokenized rows, as `Dataset.map` before training leaves them."""
        length = self.task.max_length if self.name == "trainer" else None
        labels = list_labels(self.task, rows, length)
        if length is not None:
            arrays = self.task.encoded[rows].pad(length)
            columns = [arrays[key].tolist() for key in _NAMES]
        else:
            encoded = self.task.encoded[rows]
            parts = [encoded[place].pad() for place in range(len(rows))]
            columns = [[part[key][0].tolist() for part in parts] for key in _NAMES]
        return [
            dict(zip(_NAMES.values(), values, strict=True)) | label
            for *values, label in zip(*columns, labels, strict=True)
        ]

    def _build_collator(self):
        from transformers import default_data_collator

        if self.name == "trainer":
            return default_data_collator
        return build_collator(self.task, build_tokenizer(self.task))


_NAMES = {
    "token_ids": "input_ids",
    "segment_ids": "token_type_ids",
    "padding_mask": "attention_mask",
}


def _build_ordered_trainer(trainer_class):
    """Take the rows as they come: `plans` has put them in the sampler's order."""
    from torch.utils.data import SequentialSampler

    class OrderedTrainer(trainer_class):
        def _get_train_sampler(self, train_dataset=None):
            return SequentialSampler(self.train_dataset)

    return OrderedTrainer


def _build_callback(clock: StepClock):
    from transformers import TrainerCallback

    class ClockCallback(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            clock.finish_step(state.global_step)

    return ClockCallback()


def find_best_settings(
    task: Task, rows: np.ndarray, num_warmup: int, *, compile: bool
) -> tuple[dict[str, Any], list[dict]]:
    """Try what the Trainer's documentation offers and keep what is fastest here.

    Args:
        task: what to train.
        rows: of the trials, in the Trainer's order.
        num_warmup: steps of them that are not timed.
        compile: whether to try `torch_compile` on the fastest.

    Returns:
        The fastest settings, and every trial with its seconds or why there are none.
    """
    trials: list[dict] = []
    for settings in _list_settings(task.device) * _NUM_TRIALS:
        trials.append(_try(task, settings, rows, num_warmup))
    if compile:
        settings = _fastest(trials)["settings"] | {"torch_compile": True}
        for _ in range(_NUM_TRIALS):
            trials.append(_try(task, settings, rows, num_warmup))
    if task.device == "cuda":
        settings = _fastest(trials)["settings"] | {"dataloader_num_workers": 2}
        trials.append(_try(task, settings, rows, num_warmup))
    if task.device == "cuda":  # the sides need it, in processes of their own
        import torch

        torch.cuda.empty_cache()
    return _fastest(trials)["settings"], trials


def _list_settings(device: str) -> list[dict[str, Any]]:
    precisions: list[dict[str, Any]] = [{"bf16": False}, {"bf16": True}]
    if device == "cuda":
        precisions[0] |= {"tf32": True}
    return [
        _BEST | precision | {"attention": attention}
        for precision in precisions
        for attention in ("sdpa", "eager")
    ]


def _try(task: Task, settings: dict, rows, num_warmup: int) -> dict:
    trial = {"settings": settings, "seconds": None, "error": None}
    if settings["bf16"]:
        trial["error"] = _why_no_bfloat16(task)
    if trial["error"] is None:
        try:
            run = TrainerSide(task, "trainer-best", settings).train(rows, num_warmup)
            trial["seconds"] = run.seconds
        except Exception as error:  # a setting that does not work here is no setting
            trial["error"] = f"{type(error).__name__}: {error}"[:200]
    print(f"trial: {settings}: {trial['error'] or round(trial['seconds'], 3)}")
    return trial


def _why_no_bfloat16(task: Task) -> str | None:
    if task.precision == "float32":
        return "not tried: --precision float32"
    if is_bfloat16_hopeless(task.device):
        return "not tried: bfloat16 products are far slower than float32 ones here"
    return None


def _fastest(trials: list[dict]) -> dict:
    done = [trial for trial in trials if trial["seconds"] is not None]
    if not done:
        raise RuntimeError(f"the Trainer ran with no setting: {trials[0]['error']}")
    return min(done, key=lambda trial: trial["seconds"])
