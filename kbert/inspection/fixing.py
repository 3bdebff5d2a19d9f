"""Write a data set without what is wrong with it, and a log of every change."""

import hashlib
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kbert.data import Split
from kbert.data.csv_rows import CsvWriter
from kbert.data.files import DELIMITED_SUFFIXES, Reading
from kbert.data.findings import check_kinds
from kbert.data.opening import format_suffix
from kbert.data.spreadsheets import SPREADSHEET_SUFFIXES
from kbert.inspection.characters import REPAIRS, may_need_repair
from kbert.inspection.finding import KINDS, say_of_one
from kbert.inspection.records import copy_records
from kbert.inspection.rows import Rows
from kbert.writing import check_new, replace_whole

DROPPED = ("nulls", "blanks", "duplicates", "leaks")
REPAIRED = tuple(REPAIRS)
# Found anew once the texts are repaired; all others are as the inspection found them.
_ANEW = ("nulls", "blanks", "duplicates", "conflicts", "leaks")
_FOUND = (
    "near_duplicates",
    "near_leaks",
    "unknown_tokens",
    "garbled",
    "languages",
    "label_errors",
)
DROPPABLE = (*_ANEW, *_FOUND)
LOG_COLUMNS = ("row", "column", "before", "after", "why")


@dataclass(frozen=True)
class Change:
    """A text that was repaired.

    Args:
        row: 0-based row of the input.
        column: its column.
        before: the text before this change.
        after: the text after it.
        why: what was wrong.
    """

    row: int
    column: str
    before: str
    after: str
    why: str


@dataclass(frozen=True)
class Fixed:
    """What was written.

    Args:
        path: the cleaned file.
        log: a line for every change.
        num_rows: rows of the cleaned file.
        num_dropped: rows that were left out.
        num_repaired: texts that were repaired, in the rows that are left.
    """

    path: Path
    log: Path
    num_rows: int
    num_dropped: int
    num_repaired: int

    def __str__(self) -> str:
        """Return all of it as one sentence."""
        return (
            f"Wrote {self.path}: {self.num_rows:,} rows; {self.num_dropped:,} left out "
            f"and {self.num_repaired:,} texts repaired, as {self.log} lists."
        )


@dataclass(frozen=True, eq=False)
class Origin:
    """Where rows were read from, so that they can be written again.

    Args:
        parts: as they were read.
        rows: the same, all of them.
        places: part name to what was read: a path, or something in memory.
        reading: how; `None`: not as a table.
    """

    parts: Mapping[str, Any]
    rows: Rows
    places: Mapping[str, Any]
    reading: Reading | None


def fix_file(
    origin: Origin | None,
    path: str | os.PathLike[str],
    *,
    found: Mapping[str, np.ndarray],
    drop: Collection[str],
    repair: Collection[str],
    overwrite: bool,
) -> Fixed:
    """Write the training file without what is wrong; see `Inspection.fix`."""
    drop = check_kinds("drop", drop, DROPPABLE)
    repair = check_kinds("repair", repair, REPAIRED)
    if origin is None or not _is_path(origin.places["train"]):
        raise ValueError(
            "only a file can be fixed, and these rows were read from memory; write "
            "them to a CSV or Parquet file and inspect that."
        )
    if origin.reading is None:
        raise ValueError(
            "only tables are written again without their faults; of tagged words and "
            "questions correct the rows that are named, in the file itself."
        )
    source, out = Path(origin.places["train"]), Path(path)
    log = _name_log(out)
    _check_output(out, log, source, origin)
    changes, repaired = _repair(origin.rows, repair)
    dropped = _choose_dropped(repaired, found, drop)
    num_rows = len(origin.rows.parts["train"])
    if len(dropped) == num_rows:
        raise ValueError(f"drop={drop} leaves no row of {source}; drop less.")
    changes = [change for change in changes if change.row not in dropped]
    with ExitStack() as stack:
        logged = stack.enter_context(replace_whole(log, overwrite))
        written = stack.enter_context(replace_whole(out, overwrite))
        raw = _copy(origin, source, written, dropped, changes)
        _write_log(logged, raw, dropped, changes)
    texts = {(change.row, change.column) for change in changes}
    return Fixed(out, log, num_rows - len(dropped), len(dropped), len(texts))


# === Checks ===


def check_wanted(
    source: Path,
    path: Path,
    *,
    drop: Collection[str] = DROPPED,
    repair: Collection[str] = REPAIRED,
    overwrite: bool = False,
) -> None:
    """Refuse what cannot be written, before an inspection takes its time.

    Args:
        source: file or folder to inspect.
        path: as for `Inspection.fix`, like the others.
        drop: kinds of rows to leave out.
        repair: kinds of repairs.
        overwrite: whether an output that exists is replaced.

    Raises:
        FileExistsError: an output exists.
        ValueError: a kind is unknown, or the file has another format than the input.
    """
    check_kinds("drop", drop, DROPPABLE)
    check_kinds("repair", repair, REPAIRED)
    if source.is_file():
        _check_format(path, source)
    for place in (path, _name_log(path)):
        check_new(place, overwrite)


def _name_log(out: Path) -> Path:
    return out.with_name(out.name + ".log.csv")


def _check_format(out: Path, source: Path) -> None:
    suffix = format_suffix(source)
    if suffix in SPREADSHEET_SUFFIXES:
        raise ValueError(
            f"{source} is a spreadsheet, which is read and not written; save its sheet "
            "as CSV and fix that."
        )
    if out.suffix.lower() not in ([suffix] if suffix else ["", *DELIMITED_SUFFIXES]):
        raise ValueError(
            f"the cleaned file has the input's format; name it *{suffix}, not "
            f"{out.name!r}."
        )


def _check_output(out: Path, log: Path, source: Path, origin: Origin) -> None:
    inputs = [Path(place) for place in origin.places.values() if _is_path(place)]
    for place in (out, log):
        if any(_is_same(place, one) for one in inputs):
            raise ValueError(
                f"{place} is one of the inputs, which are never changed; write the "
                "cleaned data to another file."
            )
    if source.is_dir():
        raise ValueError(f"{source} is a folder; inspect one file to fix it.")
    _check_format(out, source)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != origin.rows.parts["train"].source.digest:
        raise ValueError(f"{source} has changed since; inspect it again.")


def _is_path(place: Any) -> bool:
    return isinstance(place, str | os.PathLike)


def _is_same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


# === Planning ===


def _repair(rows: Rows, repair: Collection[str]) -> tuple[list[Change], Rows]:
    """Repair the texts of train; return every step, and the rows as they are then."""
    train = rows.parts["train"]
    source = train.source
    names = [name for name in (source.text, source.text_pair) if name is not None]
    own = rows.positions("train")
    wanted = may_need_repair(rows)
    changes: list[Change] = []
    for positions, columns in rows.chunks(np.intersect1d(own, wanted)):
        for name, texts in zip(names, columns, strict=True):
            for position, text in zip(positions.tolist(), texts, strict=True):
                row = int(train.rows[position - own[0]])
                changes += _repair_text(row, name, text, repair)
    if not changes:
        return [], rows
    table = source.table
    for name in names:
        column = _replace(table.column(name).chunk(0), changes, name)
        table = table.set_column(table.column_names.index(name), name, column)
    mended = Split(
        replace(source, table=table), train.rows, train.labels, train.label_names
    )
    return changes, Rows({**rows.parts, "train": mended}, rows.has_classes)


def _repair_text(
    row: int, column: str, text: str, repair: Collection[str]
) -> list[Change]:
    changes = []
    for kind in (kind for kind in REPAIRS if kind in repair):
        repaired = REPAIRS[kind](text)
        if repaired != text:
            why = f"{kind}: {say_of_one(kind)}"
            changes.append(Change(row, column, text, repaired, why))
            text = repaired
    return changes


def _replace(column: pa.Array, changes: list[Change], name: str) -> pa.Array:
    final = {change.row: change.after for change in changes if change.column == name}
    mask = np.zeros(len(column), bool)
    mask[list(final)] = True
    texts = [final[row] for row in sorted(final)]
    return pc.replace_with_mask(column, pa.array(mask), pa.array(texts, column.type))


def _choose_dropped(
    rows: Rows, found: Mapping[str, np.ndarray], drop: Collection[str]
) -> dict[int, str]:
    """Return the rows of train to leave out, and why; the worst reason counts."""
    train = rows.parts["train"]
    own = rows.positions("train")
    masks: dict[str, np.ndarray] = {k: m[own] for k, m in rows.masks().items()}
    later = rows.numbers[own[-1] + 1 :]
    masks["leaks"] = (rows.numbers[own] >= 0) & np.isin(rows.numbers[own], later)
    dropped: dict[int, str] = {}
    for kind in (kind for kind in KINDS if kind in drop):
        chosen = found.get(kind, np.empty(0, np.int64))
        if kind in _ANEW:
            chosen = train.rows[masks[kind]]
        for row in chosen.tolist():
            dropped.setdefault(row, f"{kind}: {say_of_one(kind)}")
    return dropped


# === Writing ===


def _copy(
    origin: Origin,
    source: Path,
    written: Path,
    dropped: Mapping[int, str],
    changes: list[Change],
) -> dict[int, str]:
    """Copy the file; return the rows that were left out as they stood in it."""
    assert origin.reading is not None
    values: dict[int, dict[str, str]] = {}
    for change in changes:
        values.setdefault(change.row, {})[change.column] = change.after
    train = origin.rows.parts["train"].source
    names = [n for n in train.table.column_names if n in origin.reading.wanted]
    raw, num_rows = copy_records(
        source, written, origin.reading, names, dropped, values
    )
    if num_rows != len(train):
        raise ValueError(
            f"{source} was read as {len(train):,} rows and copied as {num_rows:,}, so "
            "it is laid out in a way that cannot be fixed; write it again, with quotes "
            "around every field that holds a quote."
        )
    return raw


def _write_log(
    path: Path,
    raw: Mapping[int, str],
    dropped: Mapping[int, str],
    changes: list[Change],
) -> None:
    entries: list[tuple[int, str, str, str, str]]
    entries = [(row, "", raw[row], "", why) for row, why in dropped.items()]
    entries += [(c.row, c.column, c.before, c.after, c.why) for c in changes]
    entries.sort(key=lambda entry: entry[0])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = CsvWriter(file)
        writer.writerow(LOG_COLUMNS)
        writer.writerows(entries)
