"""Write files whole or not at all, and undisturbed by signals to stop."""

import contextlib
import io
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def replace_whole(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Let a block write a file beside `path` that takes its place once it is whole.

    Args:
        path: file to write.
        overwrite: whether it may exist.

    Yields:
        The file that the block writes, in the same folder and with the same ending.

    Raises:
        FileExistsError: the file exists and may not.
        FileNotFoundError: its folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path.parent}; create it or save elsewhere."
        )
    check_new(path, overwrite)
    suffix = path.suffix or ".tmp"
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{suffix}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse a file that exists and may not.

    Args:
        path: file to write.
        overwrite: whether it may exist.

    Raises:
        FileExistsError: it does.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; pass overwrite=True (--overwrite) or choose another file."
        )


def _flush(path: Path) -> None:
    """Wait until a file's bytes are on the disk, where disks notice being full."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Wait until a rename is on the disk; not every system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def in_utf8(stream: TextIO) -> Iterator[None]:
    """Let a block write a stream as files are written, whatever its encoding is.

    Args:
        stream: such as standard output; what is no stream of bytes stays as it is.
    """
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    encoding, errors = stream.encoding, stream.errors
    stream.reconfigure(encoding="utf-8", errors=errors)
    try:
        yield
    finally:
        stream.reconfigure(encoding=encoding, errors=errors)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block, which saves something, has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    sent: list[int] = []
    usual = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    usual = {k: v for k, v in usual.items() if v not in (None, signal.SIG_IGN)}
    for one in usual:
        signal.signal(one, lambda number, _: sent.append(number))
    try:
        yield
    finally:
        for one, handler in usual.items():
            signal.signal(one, handler)
    if sent:
        signal.raise_signal(sent[0])
