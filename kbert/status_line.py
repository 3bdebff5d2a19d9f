"""A line about work under way: redrawn in place, or written now and then to a log."""

import shutil
import sys
import time
from typing import TextIO

_LIVE_INTERVAL_SECONDS = 0.25
_LOG_INTERVAL_SECONDS = 10.0


class StatusLine:
    """One line that is redrawn on a terminal and in a notebook.

    In a pipe or a log file it is a new line every ten seconds.

    Args:
        stream: where to write; `None` is standard output.
        live: whether to redraw one line; `None` finds out from the stream.
    """

    def __init__(self, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live = _is_live(self._stream) if live is None else live
        self._interval = _LIVE_INTERVAL_SECONDS if self._live else _LOG_INTERVAL_SECONDS
        self._width = 0
        self.start()

    def start(self) -> None:
        """Let the first line be due after an interval from now."""
        self._drawn = time.perf_counter()

    def is_due(self) -> bool:
        """Whether the last line is old enough to draw another, which then begins."""
        now = time.perf_counter()
        if now - self._drawn < self._interval:
            return False
        self._drawn = now
        return True

    def draw(self, text: str) -> None:
        """Draw the line anew; a log file gets one more."""
        self._write(text, stays=not self._live)

    def leave(self, text: str) -> None:
        """Write a line that stays, in place of the one that is drawn."""
        self._write(text, stays=True)

    def clear(self) -> None:
        """Take the drawn line away."""
        if self._live and self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
            self._width = 0

    def _write(self, line: str, *, stays: bool) -> None:
        if self._live:
            columns = shutil.get_terminal_size().columns - 1
            line = line if stays else line[: max(20, columns)]
            padding = " " * max(0, self._width - len(line))
            self._width = 0 if stays else len(line)
            line = f"\r{line}{padding}"
        self._stream.write(line + ("\n" if stays else ""))
        self._stream.flush()


def _is_live(stream: TextIO) -> bool:
    """Whether a carriage return goes back to the start of the line here."""
    in_notebook = type(stream).__module__.startswith("ipykernel")
    return in_notebook or bool(getattr(stream, "isatty", lambda: False)())
