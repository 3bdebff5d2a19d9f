"""Keras callbacks: what Keras itself lacks."""

import math
import shutil
import sys
import time
from typing import Any, TextIO

import keras

_BAR_WIDTH = 20
_LIVE_INTERVAL_SECONDS = 0.25
_LOG_INTERVAL_SECONDS = 10.0


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
        self._stream = sys.stdout if stream is None else stream
        self._live = _is_live(self._stream) if live is None else live
        self._interval = _LIVE_INTERVAL_SECONDS if self._live else _LOG_INTERVAL_SECONDS
        self._width = 0
        self._step = 0
        self._began = self._epoch_began = self._drawn = self._train_seconds = 0.0
        self._first_epoch = 1

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock."""
        self._began = self._drawn = time.perf_counter()
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
        if now - self._drawn >= self._interval:
            self._drawn = now
            self._write(self._describe_step(logs or {}, now), last=not self._live)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Leave one line about the epoch."""
        seconds = time.perf_counter() - self._epoch_began
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.epochs.append({"epoch": epoch + 1, **values, "seconds": seconds})
        parts = [self._epoch_name(), _describe_logs(values), self._describe_speed()]
        self._write(
            "  ".join([*filter(None, parts), format_seconds(seconds)]), last=True
        )

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

    def _write(self, line: str, *, last: bool) -> None:
        if self._live:
            columns = shutil.get_terminal_size().columns - 1
            line = line if last else line[: max(20, columns)]
            padding = " " * max(0, self._width - len(line))
            self._width = 0 if last else len(line)
            line = f"\r{line}{padding}"
        self._stream.write(line + ("\n" if last else ""))
        self._stream.flush()


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


def _is_live(stream: TextIO) -> bool:
    """Whether a carriage return goes back to the start of the line here."""
    in_notebook = type(stream).__module__.startswith("ipykernel")
    return in_notebook or bool(getattr(stream, "isatty", lambda: False)())
