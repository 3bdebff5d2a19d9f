"""Keras callbacks: what Keras itself lacks."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import keras
import numpy as np

from kbert.status_line import StatusLine

_BAR_WIDTH = 20
_STATE = "state.json"


class Progress(keras.callbacks.Callback):
    """Show loss, accuracy, texts per second and the time left.

    On a terminal and in a notebook one line is redrawn in place; in a pipe or a log
    file a line is written every ten seconds. Each epoch leaves one line. Pass
    `verbose=0` to `fit` beside it.

    Attributes:
        epochs: one dict per finished epoch: `epoch` (from 1), its logs, `seconds`.
        epoch: number of the epoch under way, from 1; 0 before training.
        finished: whether training came to its end.

    Args:
        num_texts: texts in one epoch; `None` shows steps per second instead.
        stream: where to write; `None` is standard output.
        live: whether to redraw one line; `None` finds out from the stream.
    """

    def __init__(
        self,
        num_texts: int | None = None,
        *,
        stream: TextIO | None = None,
        live: bool | None = None,
    ) -> None:
        super().__init__()
        self.epochs: list[dict[str, Any]] = []
        self.epoch = 0
        self.finished = False
        self._num_texts = num_texts
        self._line = StatusLine(stream, live)
        self._step = 0
        self._began = self._epoch_began = self._train_seconds = 0.0
        self._first_epoch = 1

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()
        self._line.start()
        self.epochs, self.epoch, self.finished = [], 0, False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start an epoch."""
        if not self.epoch:
            self._first_epoch = epoch + 1
        self.epoch, self._step = epoch + 1, 0
        self._epoch_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Draw the line, unless it was drawn a moment ago."""
        self._step = batch + 1
        now = time.perf_counter()
        self._train_seconds = now - self._epoch_began
        # Reading the logs waits for the device, so it happens only when drawing.
        if self._line.is_due():
            self._line.draw(self._describe_step(logs or {}, now))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Leave one line about the epoch."""
        seconds = time.perf_counter() - self._epoch_began
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.epochs.append({"epoch": epoch + 1, **values, "seconds": seconds})
        parts = [self._epoch_name(), _describe_logs(values), self._describe_speed()]
        self._line.leave("  ".join([*filter(None, parts), format_seconds(seconds)]))

    def on_train_end(self, logs: dict | None = None) -> None:
        """Note that nothing cut the training short."""
        self.finished = True

    def _epoch_name(self) -> str:
        num_epochs = self.params.get("epochs")
        return (
            f"epoch {self.epoch}/{num_epochs}" if num_epochs else f"epoch {self.epoch}"
        )

    def _describe_step(self, logs: dict, now: float) -> str:
        num_steps = self.params.get("steps")
        parts = [self._epoch_name()]
        if num_steps:
            filled = min(_BAR_WIDTH, _BAR_WIDTH * self._step // num_steps)
            parts.append(f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]")
            parts.append(f"{self._step}/{num_steps}")
        else:
            parts.append(f"step {self._step}")
        parts += [_describe_logs(logs), self._describe_speed()]
        if num_steps and self.params.get("epochs"):
            left = self._seconds_left(num_steps, now)
            parts.append(f"{format_seconds(left)} left")
        return "  ".join(filter(None, parts))

    def _seconds_left(self, num_steps: int, now: float) -> float:
        """Estimate from what is done; validation counts once one has been seen."""
        done = (self.epoch - self._first_epoch) * num_steps + self._step
        total = (self.params["epochs"] - self._first_epoch + 1) * num_steps
        return (now - self._began) * max(0, total - done) / max(1, done)

    def _describe_speed(self) -> str:
        if not self._step or self._train_seconds <= 0:
            return ""
        num_steps = self.params.get("steps")
        if self._num_texts is None or not num_steps:
            return f"{self._step / self._train_seconds:.1f} steps/s"
        num_done = self._num_texts * min(1.0, self._step / num_steps)
        return f"{num_done / self._train_seconds:,.0f} texts/s"


class Backup(keras.callbacks.Callback):
    """Take a killed training up at its last epoch, early stopping included.

    `keras.callbacks.BackupAndRestore` restores weights and optimizer; this one also
    what `EarlyStopping` and `Progress` had seen, and whatever else the caller keeps.
    Call `fit` again, with a model built and compiled as before and the same data and
    `kbert.set_seed`: it ends in the weights of a run that nobody killed. Pass it after
    the callbacks that it keeps, and call `remove` when the result is safe.

    Args:
        folder: where to keep the state; each state is whole or absent.
        callbacks: whose state is kept too: `Progress` and `EarlyStopping`.
        keep: returns JSON values to keep beside it.
        restore: is given those values when training is taken up.
        seconds: an epoch is kept when this long has passed since the last that was, so
            that short runs write nothing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        callbacks: Sequence[keras.callbacks.Callback] = (),
        *,
        keep: Callable[[], dict[str, Any]] = dict,
        restore: Callable[[dict[str, Any]], None] | None = None,
        seconds: float = 60.0,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._progress = [c for c in callbacks if isinstance(c, Progress)]
        stopping = keras.callbacks.EarlyStopping
        self._stopping = [c for c in callbacks if isinstance(c, stopping)]
        self._keep, self._restore = keep, restore
        self._seconds = seconds
        self._saved = time.perf_counter()
        self._epoch = 0

    @staticmethod
    def read(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Read the JSON values that a killed training kept.

        Args:
            folder: of the backup.

        Returns:
            The values, or `None` where there is nothing to take up.
        """
        state = _read_state(Path(folder))
        return state and state["kept"]

    def remove(self) -> None:
        """Remove what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restore what a killed training kept, if there is anything."""
        self._saved = time.perf_counter()
        state = _read_state(self.folder)
        if state is None:
            return
        self.model.load_weights(self.folder / f"{state['files']}.weights.h5")
        self.model._initial_epoch = state["epoch"]
        if state["is_finished"]:
            self.model._initial_epoch = self.params["epochs"]
        self._epoch = state["epoch"]
        for callback in self._progress:
            callback.epochs[:] = state["progress"]
        with np.load(self.folder / f"{state['files']}.npz") as arrays:
            for number, callback in enumerate(self._stopping):
                _restore_stopping(callback, number, state["stopping"], arrays)
        if self._restore is not None:
            self._restore(state["kept"])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keep the epoch, if the last that was kept is long ago."""
        self._epoch = epoch + 1
        if time.perf_counter() - self._saved >= self._seconds:
            self._save(is_finished=self.model.stop_training)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Keep the end: what follows training may take long too."""
        if self.folder.exists() or time.perf_counter() - self._saved >= self._seconds:
            # The best epoch's weights are in the model by now.
            for callback in self._stopping:
                callback.best_weights = None
            self._save(is_finished=True)

    def _save(self, *, is_finished: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = f"epoch-{self._epoch}{'-end' if is_finished else ''}"
        self.model.save_weights(self.folder / f"{files}.weights.h5", overwrite=True)
        arrays = {
            f"{number}-{place}": weights
            for number, callback in enumerate(self._stopping)
            for place, weights in enumerate(callback.best_weights or ())
        }
        np.savez(self.folder / f"{files}.npz", **arrays)
        state = {
            "epoch": self._epoch,
            "is_finished": is_finished,
            "files": files,
            "progress": self._progress[0].epochs if self._progress else [],
            "stopping": [_describe_stopping(one) for one in self._stopping],
            "kept": self._keep(),
        }
        # Whoever reads finds the old state or the new one.
        new = self.folder / "state.new"
        new.write_text(json.dumps(state), encoding="utf-8")
        os.replace(new, self.folder / _STATE)
        for path in self.folder.glob("epoch-*"):
            if path.name.split(".")[0] != files:
                path.unlink(missing_ok=True)
        self._saved = time.perf_counter()


def _read_state(folder: Path) -> dict[str, Any] | None:
    path = folder / _STATE
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _describe_stopping(callback: Any) -> dict[str, Any]:
    return {
        "wait": callback.wait,
        "best": None if callback.best is None else float(callback.best),
        "best_epoch": callback.best_epoch,
        "stopped_epoch": callback.stopped_epoch,
        "num_weights": len(callback.best_weights or ()),
    }


def _restore_stopping(callback: Any, number: int, states: list, arrays: Any) -> None:
    state = dict(states[number])
    count = state.pop("num_weights")
    for name, value in state.items():
        setattr(callback, name, value)
    if count:
        callback.best_weights = [arrays[f"{number}-{place}"] for place in range(count)]


def format_seconds(seconds: float) -> str:
    """Write a duration as people say it.

    Args:
        seconds: the duration; may be fractional.

    Returns:
        `4.2 s`, `42 s`, `3 min 05 s` or `1 h 12 min`.
    """
    if not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _describe_logs(logs: dict) -> str:
    names = sorted(logs, key=lambda name: (name.startswith("val_"), name != "loss"))
    return "  ".join(f"{name} {float(logs[name]):.4f}" for name in names)
