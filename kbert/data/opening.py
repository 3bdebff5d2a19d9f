"""Open a file's bytes, unpacked where its name says that it is compressed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zip")
_HIDDEN = ("__MACOSX/", ".")  # what some systems add to an archive


def is_compressed(path: Path) -> bool:
    """Whether the file's name says that it is compressed."""
    return path.suffix.lower() in COMPRESSIONS


def format_suffix(path: Path) -> str:
    """Return the ending that tells the format, in lower case: `.csv` of `a.csv.gz`.

    Args:
        path: a file; the one file in an archive tells if its name does not.

    Returns:
        The ending, with its dot; `""` if there is none.

    Raises:
        ValueError: an archive is damaged or holds several files.
    """
    if not is_compressed(path):
        return path.suffix.lower()
    suffix = Path(path.stem).suffix.lower()
    if not suffix and path.suffix.lower() == ".zip":
        with _open_zip(path) as (_, name):
            suffix = Path(name).suffix.lower()
    return suffix


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; `.gz`, `.bz2`, `.xz` and `.zip` are unpacked on the way.

    Args:
        path: a file.

    Yields:
        Its bytes, as a stream that can be read forwards.

    Raises:
        ValueError: a compressed file is damaged, or an archive holds several files.
    """
    import bz2
    import gzip
    import lzma
    import zipfile
    import zlib

    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener = openers.get(path.suffix.lower())
    try:
        if opener is not None:
            with opener(path, "rb") as file:
                yield file
        elif path.suffix.lower() == ".zip":
            with _open_zip(path) as (archive, name), archive.open(name) as file:
                yield file
        else:
            with path.open("rb") as file:
                yield file
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        _refuse_damaged(path, error)
    except zipfile.BadZipFile as error:
        _refuse_damaged(path, error)
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise ValueError(f"{path} needs a password; unpack it first.") from None
    except OSError as error:
        if opener is None or error.errno is not None:
            raise
        _refuse_damaged(path, error)  # bz2 has no error of its own


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[tuple]:
    import zipfile

    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        _refuse_damaged(path, error)
    with archive:
        names = [
            name
            for name in archive.namelist()
            if not name.endswith("/") and not name.startswith(_HIDDEN)
        ]
        if len(names) != 1:
            held = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise ValueError(
                f"{path} holds {len(names)} files{f' ({held})' if names else ''}, not "
                "one; unpack it and pass the file."
            )
        yield archive, names[0]


def _refuse_damaged(path: Path, error: Exception) -> NoReturn:
    reason = str(error).partition("\n")[0].rstrip(".")
    raise ValueError(
        f"cannot unpack {path}: {reason}; write it again, or unpack it first."
    ) from None
