"""Write files whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replace_whole(path: Path, overwrite: bool) -> Iterator[Path]:
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
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; pass overwrite=True or choose another file."
        )
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
