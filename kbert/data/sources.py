"""Turn any source of labelled texts into one Arrow table with known columns."""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kbert.data.files import Reading, read_file, suggest
from kbert.data.values import join_labels

_UNCONVERTIBLE = (pa.ArrowException, UnicodeEncodeError, OverflowError)
_LISTED_COLUMNS = 20  # names shown in an error


@dataclass(frozen=True)
class Source:
    """One source, read: every column in one Arrow chunk, texts as `large_string`.

    Args:
        table: the columns, each in one chunk, so that any rows are taken cheaply.
        text: name of the text column.
        text_pair: name of the second text column, or `None`.
        label: name of the label column, or `None` when the rows are unlabelled.
        class_names: names of a Hugging Face `ClassLabel`, in id order, or `None`.
        name: short name for messages, such as `train.csv`.
        words: what was read, such as `CSV file train.csv`.
        digest: SHA-256 of the file's bytes, or of the texts and labels.
        notes: what was guessed in reading it, a sentence each.
        separator: what stood between the labels of a row that has several, if known.
    """

    table: pa.Table
    text: str
    text_pair: str | None
    label: str | None
    class_names: tuple[str, ...] | None
    name: str
    words: str
    digest: str
    notes: tuple[str, ...] = ()
    separator: str | None = None

    @property
    def texts(self) -> pa.Array:
        """The text column."""
        return self.table.column(self.text).chunk(0)

    @property
    def text_pairs(self) -> pa.Array | None:
        """The second text column, or `None`."""
        if self.text_pair is None:
            return None
        return self.table.column(self.text_pair).chunk(0)

    @property
    def labels(self) -> pa.Array | None:
        """The label column, or `None`."""
        return None if self.label is None else self.table.column(self.label).chunk(0)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)


def read_source(
    source: Any, reading: Reading, *, label_optional: bool = False
) -> Source:
    """Read a file, DataFrame, `datasets.Dataset` or tuple of lists.

    Args:
        source: path, `pandas.DataFrame`, `datasets.Dataset`, `pyarrow.Table`, list of
            texts, `(texts, labels)` or `(texts, text_pairs, labels)`.
        reading: columns wanted and how to read a file.
        label_optional: whether rows without any label are taken, as unlabelled.

    Returns:
        The source, read and checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read, lacks a column or holds no row.
    """
    if isinstance(source, str | os.PathLike):
        read = _read_path(Path(source), reading)
    else:
        read = _read_memory(source, reading)
    if label_optional and isinstance(read.label, str) and _is_unlabelled(read):
        logging.getLogger("kbert").log(
            logging.INFO if _is_plainly_unlabelled(read) else logging.WARNING,
            "%s has no labels in a column %r, so this part is unlabelled.",
            read.name,
            read.label,
        )
        read = replace(read, label=None)
    if reading.kind == "several":
        read = join_labels(read, reading.separator)
    return _normalise(read)


def read_table(source: Any, reading: Reading) -> pa.Table:
    """Read every plain column of a source, whatever they hold.

    Args:
        source: as for `read_source`.
        reading: how to read a file.

    Returns:
        The columns as they are, unchecked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        return read_file(Path(source), reading)[0]
    return _read_memory(source, reading).table


def _read_memory(source: Any, reading: Reading) -> Source:
    if isinstance(source, list | tuple):
        return _read_lists(source, reading)
    return _read_object(source, reading)


def _is_unlabelled(source: Source) -> bool:
    """Whether the label column is missing, or null in every row (GLUE's test parts)."""
    if source.label is None:
        return False
    if source.label not in source.table.column_names:
        return True
    return source.table.column(source.label).null_count == len(source)


def _is_plainly_unlabelled(source: Source) -> bool:
    """Whether no column looks like the label's, as in a contest's test file.

    An empty column, or one of nearly that name, may be a mistake.
    """
    texts = (source.text, source.text_pair)
    others = [name for name in source.table.column_names if name not in texts]
    label = str(source.label)
    return label not in others and suggest(label, others) == "."


def _read_path(path: Path, reading: Reading) -> Source:
    table, kind, notes = read_file(path, reading)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    read = _build(table, reading, path.name, f"{kind} file {path}", digest=digest)
    return replace(read, notes=notes)


def _build(
    table: pa.Table,
    reading: Reading,
    name: str,
    words: str,
    *,
    digest: str = "",
    class_names: tuple[str, ...] | None = None,
) -> Source:
    text, pair = reading.text, reading.text_pair
    label: Any = reading.label  # several columns are joined to one at once
    return Source(table, text, pair, label, class_names, name, words, digest)


# === In memory ===


def _read_lists(source: list | tuple, reading: Reading) -> Source:
    """Read a list of texts, (texts, labels) or (texts, text_pairs, labels)."""
    if isinstance(source, list) and all(isinstance(t, str | None) for t in source):
        source = (source, None)
    if len(source) not in (2, 3) or isinstance(source[0], str):
        raise ValueError(
            "texts in memory are (texts, labels) or (texts, text_pairs, labels); "
            f"received a {type(source).__name__} of {len(source)} values."
        )
    texts, labels = source[0], source[-1]
    label = reading.label if labels is None else (reading.label or "label")
    reading = replace(reading, label=label)
    columns = {reading.text: texts}
    if len(source) == 3:
        reading = replace(reading, text_pair=reading.text_pair or "text_pair")
        columns[str(reading.text_pair)] = source[1]
    if labels is not None:
        columns[str(label)] = labels
    name = f"({', '.join(columns)})"
    arrays = {key: _to_arrow(values, key, name) for key, values in columns.items()}
    lengths = [len(array) for array in arrays.values()]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name} must be equally long; their lengths are {lengths}.")
    return _build(pa.table(arrays), reading, name, f"{name} in memory")


def _read_object(source: Any, reading: Reading) -> Source:
    """Read an object of pandas, datasets or pyarrow without importing any of them."""
    library, kind = type(source).__module__.partition(".")[0], type(source).__name__
    name = f"the {kind}"
    if isinstance(source, pa.Table):
        return _build(source, reading, name, f"a pyarrow {kind}")
    if library == "pandas" and kind == "DataFrame":
        table = _read_frame(source, reading, name)
        return _build(table, reading, name, f"a pandas {kind}")
    if library == "datasets" and kind == "Dataset":
        return _read_dataset(source, reading, name)
    if isinstance(source, Mapping):
        raise ValueError(
            f"{name} holds several parts ({', '.join(map(str, source))}); pass one."
        )
    raise ValueError(
        f"cannot read a {type(source).__module__}.{kind}; pass a path, DataFrame, "
        "datasets.Dataset, (texts, labels) or (texts, text_pairs, labels)."
    )


def _read_frame(frame: Any, reading: Reading, name: str) -> pa.Table:
    arrays, names = [], []
    for position, column in enumerate(map(str, frame.columns)):
        try:
            arrays.append(_to_arrow(frame.iloc[:, position], column, name))
        except ValueError:
            if column in reading.wanted:
                raise
            continue  # a column of arbitrary objects that nobody asked for
        names.append(column)
    return pa.table(arrays, names=names)


def _read_dataset(dataset: Any, reading: Reading, name: str) -> Source:
    schema = dataset.features.arrow_schema
    chosen = dataset.select_columns(reading.flat_columns(schema))
    table = chosen.with_format("arrow")[:]
    class_names = getattr(dataset.features.get(reading.label), "names", None)
    if class_names is not None:
        column = table.column_names.index(reading.label)
        labels = _name_classes(table.column(column), class_names, reading, name)
        table = table.set_column(column, reading.label, labels)
    return _build(
        table,
        reading,
        name,
        f"a Hugging Face Dataset with the columns {', '.join(table.column_names)}",
        class_names=class_names and tuple(class_names),
    )


def _name_classes(
    ids: pa.ChunkedArray, names: list[str], reading: Reading, source: str
) -> pa.ChunkedArray:
    """Turn a ClassLabel's ids into its names; -1 means unlabelled there."""
    ids = pc.if_else(pc.equal(ids, -1), None, ids)
    highest = pc.max(ids).as_py()
    if highest is not None and highest >= len(names):
        raise ValueError(
            f"column {reading.label!r} of {source} holds {highest}, but its ClassLabel "
            f"has {len(names)} names; correct the features."
        )
    return pc.take(pa.array(names), ids)


def _to_arrow(values: Any, column: str, source: str) -> pa.Array:
    if not isinstance(values, list | tuple) and not hasattr(values, "dtype"):
        values = list(values)
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu().numpy()
    try:
        return pa.array(values, from_pandas=True)
    except _UNCONVERTIBLE:
        row = _find_odd_row(values)
        raise ValueError(
            f"column {column!r} of {source} mixes kinds of values or holds what is no "
            f"text: row {row} has {list(values)[row]!r}; convert the column first."
        ) from None


def _find_odd_row(values: Any) -> int:
    """Return the first row that cannot stand in one column with those before it."""
    values = list(values)
    low, high = 0, len(values)
    while high - low > 1:  # values[:low] converts, values[:high] does not
        middle = (low + high) // 2
        try:
            pa.array(values[:middle], from_pandas=True)
            low = middle
        except _UNCONVERTIBLE:
            high = middle
    return high - 1


# === Normal form ===


def _normalise(source: Source) -> Source:
    names = source.table.column_names
    for name in (source.text, source.text_pair, source.label):
        if name is not None:
            _check_column(name, names, source.name)
    if not len(source):
        raise ValueError(f"{source.name} holds no rows; pass a source that has some.")
    columns = {}
    for position, name in enumerate(names):
        columns[name] = _one_chunk(source.table.column(position))
    for name in (source.text, source.text_pair):
        if name is not None:
            columns[name] = _check_text(columns[name], name, source)
    if source.label is not None and pa.types.is_nested(columns[source.label].type):
        raise ValueError(
            f"column {source.label!r} of {source.name} holds "
            f"{columns[source.label].type}, not one label a row; name another column, "
            "or read several labels a row: kind='several' (--task multilabel)."
        )
    source = replace(source, table=pa.table(columns))
    return source if source.digest else replace(source, digest=_digest(source))


def _check_column(name: str, names: list[str], source: str) -> None:
    if names.count(name) > 1:
        raise ValueError(
            f"{source} has {names.count(name)} columns named {name!r}; rename all but "
            "one."
        )
    if name not in names:
        listed = ", ".join(names[:_LISTED_COLUMNS])
        more = f" and {len(names) - _LISTED_COLUMNS} more"
        raise ValueError(
            f"{source} has no column {name!r}{suggest(name, names)} It has {listed}"
            f"{more if len(names) > _LISTED_COLUMNS else ''}."
        )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Join the chunks; strings get 64-bit offsets, since chunks may pass 2 GB."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _check_text(column: pa.Array, name: str, source: Source) -> pa.Array:
    kind = column.type
    try:
        if pa.types.is_null(kind) or pa.types.is_binary(kind):
            column = column.cast(pa.large_string())
        column.validate(full=True)  # Arrow reads any bytes as text
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"column {name!r} of {source.name} is not UTF-8 text: "
            f"{str(error).rstrip('.')}; write it again as text."
        ) from None
    if not pa.types.is_large_string(column.type):
        raise ValueError(
            f"column {name!r} of {source.name} holds {kind}, not text (row 0: "
            f"{column[0].as_py()!r}); name the text column or convert this one."
        )
    return column


def string_bytes(column: pa.Array) -> tuple[np.ndarray, memoryview]:
    """Return where each string of a column begins, and the bytes of all, uncopied.

    Args:
        column: `large_string` array of n strings.

    Returns:
        Offsets, int64 (n + 1,), and the UTF-8 bytes: string i is
        `data[offsets[i] : offsets[i + 1]]`, nothing where it is null.
    """
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int64)
    starts = starts[column.offset : column.offset + len(column) + 1]
    return starts, memoryview(b"" if data is None else data)


def _digest(source: Source) -> str:
    """Hash texts and labels by value, whatever the chunks and types they came in."""
    total = hashlib.sha256()
    for column in (source.texts, source.text_pairs, source.labels):
        if column is None:
            continue
        strings = column.cast(pa.large_string())
        lengths = pc.binary_length(strings).fill_null(-1).to_numpy()
        total.update(lengths.astype("<i8").tobytes())
        offsets, data = string_bytes(strings)
        total.update(data[offsets[0] : offsets[-1]])
    return total.hexdigest()
