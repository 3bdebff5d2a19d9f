"""The folder of a run: claimed by one run, each file whole or absent."""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from kbert.report.plain import dump_csv, dump_json
from kbert.writing import replace_whole

CLAIM = "config.json"
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
# What file managers leave in folders that look empty.
_IGNORED = {".DS_Store", "Thumbs.db", "desktop.ini"}
_ELSEWHERE = "Choose another --out."


class RunFolder:
    """A folder that belongs to one run.

    `create` makes and claims it: the claim is a `config.json` that only one process
    can create, and that the run's own replaces. Every file is written under another
    name in the same folder, flushed to disk and then renamed, so that a reader sees
    the old file, the new one or none, whatever happens in between.

    Attributes:
        path: the folder.

    Args:
        path: a folder that exists; `create` is what runs call.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def check(cls, path: str | os.PathLike[str] | None) -> None:
        """Refuse a folder that `create` would refuse, without touching anything.

        Worth calling before hours of work; a full disk or missing rights of some kinds
        only show in `create`.

        Args:
            path: folder of the run; `None` is always fine.

        Raises:
            OSError: as `create`.
        """
        if path is not None:
            _check_place(Path(path).expanduser())

    @classmethod
    def create(
        cls, path: str | os.PathLike[str] | None = None, *, recipe: str = "run"
    ) -> "RunFolder":
        """Create a folder, or take an empty one, and claim it for this run.

        Args:
            path: folder; `None` makes `runs/<recipe>-<UTC time>` where the process
                runs, with a number behind it if there is one of that name.
            recipe: name of what is run.

        Returns:
            The folder, holding a `config.json` that names the recipe.

        Raises:
            FileExistsError: it holds another run or other files, or is being used by a
                run that started at the same time.
            NotADirectoryError: it, or a folder above it, is a file.
            PermissionError: it may not be written.
            OSError: anything else that the system objects to, such as a full disk.
        """
        if path is None:
            place = _make_default(recipe)
        else:
            place = Path(path).expanduser()
            _check_place(place)
            with _explaining(f"cannot create run folder {place}", _ELSEWHERE):
                place.mkdir(parents=True, exist_ok=True)
        _claim(place, recipe)
        return cls(place)

    def release(self) -> None:
        """Give the folder up if nothing but the claim is in it.

        For runs that end before they have something to keep.
        """
        with contextlib.suppress(OSError):
            if [found.name for found in self.path.iterdir()] == [CLAIM]:
                (self.path / CLAIM).unlink()
                self.path.rmdir()

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Write a file by any means, whole or not at all.

        Args:
            name: file name, without folders.

        Yields:
            Path to write to, in the same folder and with the same suffix. It becomes
            `name` when the block ends and disappears when the block fails.

        Raises:
            ValueError: `name` names a folder.
            OSError: the disk is full or the file may not be written.

        Example:
            >>> with folder.replacing("model.onnx") as path:
            ...     export(model, path)
        """
        if name != Path(name).name or name in ("", ".", ".."):
            raise ValueError(
                f"file names of a run folder have no folders; received {name!r}."
            )
        target = self.path / name
        with _writing(target), replace_whole(target) as temporary:
            yield temporary

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file in UTF-8.

        Args:
            name: file name, without folders.
            text: lone surrogates, which UTF-8 has no form for, are written as escapes.

        Returns:
            Path of the file.

        Raises:
            OSError: the disk is full or the file may not be written.
        """
        data = text.encode("utf-8", "backslashreplace")
        with self.replacing(name) as path:
            path.write_bytes(data)
        return self.path / name

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file.

        Args:
            name: file name, without folders.
            value: numbers (NaN and infinity become null: JSON has neither), strings,
                lists, dicts, NumPy arrays, dataclasses and paths.

        Returns:
            Path of the file.

        Raises:
            ValueError: the value holds something else.
            OSError: the disk is full or the file may not be written.
        """
        return self.write_text(name, dump_json(value, name))

    def write_csv(
        self, name: str, rows: Any, columns: Sequence[str] | None = None
    ) -> Path:
        """Write a CSV file with a header.

        Args:
            name: file name, without folders.
            rows: `pandas.DataFrame` or a sequence of dicts.
            columns: their order; `None`: as they first occur.

        Returns:
            Path of the file.

        Raises:
            OSError: the disk is full or the file may not be written.
        """
        return self.write_text(name, dump_csv(rows, columns))

    def save_model(self, model: Any, name: str = "model.keras") -> Path:
        """Save a model.

        Args:
            model: a `kbert.Model`.
            name: file name, without folders.

        Returns:
            Path of the file.

        Raises:
            OSError: the disk is full or the file may not be written.
        """
        with self.replacing(name) as path:
            # The run is over: the optimizer's state would triple the file.
            model.save(str(path), include_optimizer=False)
        return self.path / name


def _check_place(place: Path) -> None:
    """Refuse a place that cannot become a run folder."""
    with _explaining(f"cannot use run folder {place}", _ELSEWHERE):
        nearest = next((p for p in (place, *place.parents) if p.exists()), Path("."))
        is_folder = nearest.is_dir()
        found = place.iterdir() if is_folder and nearest == place else ()
        names = sorted({path.name for path in found} - _IGNORED)
    if not is_folder:
        _refuse_file(place, nearest)
    if names:
        _refuse_full(place, names)
    if not os.access(nearest, os.W_OK | os.X_OK):
        message = f"run folder {place}: no right to write in {nearest}. {_ELSEWHERE}"
        raise PermissionError(errno.EACCES, message)


def _refuse_file(place: Path, found: Path) -> NoReturn:
    if found == place:
        message = f"run folder {place} is a file. {_ELSEWHERE}"
    else:
        message = (
            f"run folder {place} cannot be created: {found} is a file. {_ELSEWHERE}"
        )
    raise NotADirectoryError(errno.ENOTDIR, message)


def _refuse_full(place: Path, names: list[str]) -> NoReturn:
    if {CLAIM, "report.json"} & set(names):
        message = f"run folder {place} holds another run already. {_ELSEWHERE}"
    else:
        message = (
            f"run folder {place} is not empty (it holds {names[0]!r}). "
            "Choose a new or empty folder with --out."
        )
    raise FileExistsError(errno.EEXIST, message)


def _make_default(recipe: str) -> Path:
    """Make a new folder `runs/<recipe>-<UTC time>`."""
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    first = Path("runs") / f"{recipe}-{started}"
    number = 1
    while True:
        place = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            with _explaining(f"cannot create run folder {place}", "Name one by --out."):
                place.mkdir(parents=True)
            return place
        except FileExistsError:
            number += 1


def _claim(place: Path, recipe: str) -> None:
    """Create the claim; of two runs in one folder only one can."""
    try:
        with (
            _explaining(f"cannot write in run folder {place}", _ELSEWHERE),
            open(place / CLAIM, "x", encoding="utf-8") as file,
        ):
            file.write(dump_json({"recipe": recipe}))
    except FileExistsError:
        _refuse_full(place, [CLAIM])
    except OSError:
        with contextlib.suppress(OSError):
            (place / CLAIM).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _explaining(what: str, advice: str) -> Iterator[None]:
    """Put the system's objections into one sentence that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        code = error.errno or errno.EIO
        raise OSError(code, f"{what}: {reason}. {advice}") from error


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Put what goes wrong while a file is written into one sentence."""
    try:
        yield
    except Exception as error:
        cause = _system_error(error)
        if cause is None:
            raise
        if cause.errno in _DISK_FULL:
            message = (
                f"disk is full while writing {target}; nothing was half written. "
                "Free some space, or choose another --out."
            )
        else:
            reason = cause.strerror or str(cause) or type(cause).__name__
            message = f"cannot write {target}: {reason}. Nothing was half written."
        raise OSError(cause.errno or errno.EIO, message) from error


def _system_error(error: BaseException | None) -> OSError | None:
    """Find the system's objection behind an error.

    A full disk often surfaces as an archive that cannot be closed properly.
    """
    found = None
    while error is not None:
        if isinstance(error, OSError):
            if error.errno in _DISK_FULL:
                return error
            found = found or error
        error = error.__cause__ or error.__context__
    return found
