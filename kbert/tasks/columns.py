"""Find out which columns of a file hold the texts and the labels.

A column is taken where there is only one sensible choice: it has a usual name, or it
alone holds what texts or labels look like. Otherwise the user is asked.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from kbert.data.files import Reading
from kbert.data.folders import find_parts
from kbert.data.sources import read_table
from kbert.tasks.task import Request

# Rows that are looked at: enough to tell what a column holds.
_SEEN_ROWS = 2000
_TEXT_NAMES = (
    "text sentence review content comment message tweet body document question "
    "utterance post abstract headline title description sms"
).split()
_LABEL_NAMES = (
    "label labels target class category sentiment score rating stars y intent tags "
    "topic genre emotion"
).split()
_ROW_NAMES = ("", "id", "idx", "index", "row", "rowid", "uid", "uuid", "guid", "url")
_FLAGS = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no"}
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Column:
    """What a column holds, by its first rows.

    Args:
        name: of the column.
        values: those that are there, as strings.
        is_string: whether they are strings in the source.
        is_list: whether each is a list.
    """

    name: str
    values: Sequence[str]
    is_string: bool
    is_list: bool = False

    @property
    def distinct(self) -> dict[str, int]:
        """The different values and how often each occurs."""
        counts: dict[str, int] = {}
        for value in self.values:
            counts[value] = counts.get(value, 0) + 1
        return counts

    @property
    def is_number(self) -> bool:
        """Whether every value is a number."""
        return bool(self.values) and all(map(_NUMBER.fullmatch, self.values))

    @property
    def is_flag(self) -> bool:
        """Whether every value is 0 or 1, and both occur."""
        return 1 < len(self.distinct) and {v.lower() for v in self.distinct} <= _FLAGS

    @property
    def is_rowwise(self) -> bool:
        """Whether it numbers or names the rows."""
        is_named = self.name.lower().replace("unnamed: 0", "") in _ROW_NAMES
        is_unique = len(self.distinct) == len(self.values)
        return is_named or (is_unique and self.is_number and "." not in self.values[0])

    @property
    def num_words(self) -> float:
        """Words a value, on average."""
        return sum(len(v.split()) for v in self.values) / max(1, len(self.values))

    @property
    def is_text(self) -> bool:
        """Whether most values are different and have several words."""
        is_varied = 2 * len(self.distinct) > len(self.values)
        return self.is_string and not self.is_number and is_varied and self.is_wordy

    @property
    def is_wordy(self) -> bool:
        """Whether values have several words."""
        return self.num_words >= 2


@dataclass(frozen=True)
class Glance:
    """What training data look like.

    Args:
        columns: what each column holds, by name.
        num_rows: rows in all.
    """

    columns: Mapping[str, Column]
    num_rows: int


def look(request: Request) -> Glance:
    """Look at the training data: their size, and their first rows.

    Args:
        request: what to read, and how.

    Returns:
        What is there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read.
    """
    named = {"text": request.text, "text_pair": request.text_pair}
    if isinstance(request.label, str):
        named["label"] = request.label
    known = {name: column for name, column in named.items() if column is not None}
    reading = Reading(**{"label": None, **known, **request.reading})
    table = read_table(find_parts(request.source)["train"], reading)
    columns = {
        name: _describe(name, table.column(place).slice(0, _SEEN_ROWS))
        for place, name in enumerate(table.column_names)
    }
    return Glance(columns, len(table))


def _describe(name: str, column: pa.ChunkedArray) -> Column:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    values = [v for v in column.to_pylist() if v is not None and v == v]
    return Column(
        name,
        [str(v) for v in values if str(v).strip()],
        pa.types.is_string(kind) or pa.types.is_large_string(kind),
        pa.types.is_list(kind) or pa.types.is_large_list(kind),
    )


def complete(
    request: Request, glance: Glance | None = None
) -> tuple[Request, list[str]]:
    """Name the columns that the user has not named.

    Args:
        request: what to read; `text` or `label` may be missing.
        glance: as `look` returns it; `None`: looked at where needed.

    Returns:
        The request with both columns, and a sentence for each column that was found.

    Raises:
        ValueError: there is no column, or more than one, that it could be.
    """
    label = request.label
    if glance is None and request.text and label and "," not in label:
        return request, []
    found = (glance or look(request)).columns
    sentences = []
    if request.text is None:
        text, why = _find_text(found, request)
        sentences.append(f"texts are in column {text!r}, {why}")
        request = replace(request, text=text)
    if label is None:
        label, why = _find_label(found, request)
        shown = repr(label) if isinstance(label, str) else ", ".join(map(repr, label))
        word = "column" if isinstance(label, str) else "columns"
        sentences.append(f"labels are in {word} {shown}, {why}")
        request = replace(request, label=label)
    elif isinstance(label, str):
        request = replace(request, label=_split_names(label, found))
    return request, sentences


def _split_names(label: str, columns: Mapping[str, Column]) -> str | tuple[str, ...]:
    """Read `a,b,c` as three columns where the source has them."""
    names = tuple(name.strip() for name in label.split(","))
    if label in columns or len(names) < 2 or not set(names) <= set(columns):
        return label
    return names


def _find_text(columns: Mapping[str, Column], request: Request) -> tuple[str, str]:
    taken = {request.text_pair, *_listed(request.label)}
    free = [c for c in columns.values() if c.name not in taken and c.is_string]
    texts = [c for c in free if not c.is_number]
    named = [c for c in texts if c.name.lower() in _TEXT_NAMES]
    if len(named) == 1:
        return named[0].name, "by its name"
    found = [c for c in named or texts if c.is_text]
    if len(found) == 1:
        return found[0].name, "the only one that holds sentences"
    if not found:
        found = [c for c in texts if c.name.lower() not in _LABEL_NAMES]
        if len(found) == 1:
            return found[0].name, "the only other one that holds words"
    raise ValueError(_ask("the texts", "text", found, columns))


def _find_label(
    columns: Mapping[str, Column], request: Request
) -> tuple[str | tuple[str, ...], str]:
    taken = {request.text, request.text_pair}
    free = [c for c in columns.values() if c.name not in taken and c.values]
    named = [c for c in free if c.name.lower() in _LABEL_NAMES]
    if len(named) == 1:
        return named[0].name, "by its name"
    found = [
        c
        for c in named or free
        if not c.is_rowwise and not c.is_text and len(c.distinct) > 1
    ]
    if len(found) == 1:
        return found[0].name, "the only one that can be labels"
    if len(found) > 1 and all(column.is_flag for column in found):
        return tuple(column.name for column in found), "all of them 0 or 1"
    raise ValueError(_ask("the labels", "label", found, columns))


def _listed(label: str | Sequence[str] | None) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else tuple(label or ())


def _ask(
    what: str, flag: str, found: Sequence[Column], columns: Mapping[str, Column]
) -> str:
    names = [column.name for column in found] or list(columns)
    shown = ", ".join(map(repr, names[:20]))
    there = f"it could be {shown}" if found else f"none of {shown} looks like it"
    hint = ""
    if flag == "text" and len(found) == 2:
        hint = f" Of pairs, name the second too: --text-pair {names[1]!r}."
    return (
        f"cannot tell which column holds {what}: {there}. Name it: --{flag} "
        f"{names[0]!r}, in Python {flag}={names[0]!r}.{hint}"
    )
