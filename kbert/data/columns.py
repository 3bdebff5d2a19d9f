"""Guess which columns hold the texts and the labels, and say so.

A guess is made only where there is one sensible choice: a column of a telling name, or
the only one of its kind. Everything else is one sentence that names the choices.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kbert.data.files import Reading, suggest
from kbert.data.peek import peek

# Names are compared in lower case and without marks: "Review_Text" is "reviewtext".
_TEXT_NAMES = (
    "text texts sentence sentences review reviewtext reviewbody content contents body "
    "message messages tweet tweettext comment comments commenttext document documents "
    "post utterance sms fulltext textbody input inputtext verbatim feedback",
    "title headline summary description abstract subject question query name snippet",
)
_LABEL_NAMES = (
    "label labels target targets class classes goldlabel labelname labeltext",
    "category categories sentiment stars star rating ratings score scores polarity "
    "intent topic topics tag tags emotion emotions similarity relatedness "
    "output outcome y grade overall spam isspam toxic toxicity",
)
_PAIRS = (
    ("premise", "hypothesis"),
    ("text", "textpair"),
    ("sentence", "sentencepair"),
    ("query", "document"),
    ("query", "passage"),
)
_NUMBERED = re.compile(r"(.*[a-z])(1|a)")
_IDENTIFIER = re.compile(
    r"(.*[ _.-])?(id|idx|index|row|uuid|guid|date|time|timestamp|year|url|link)"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_FEW_VALUES = 50  # most different values of a label column without a telling name
_LONGER = 3  # a text column as many times longer than the next is the sensible one


@dataclass(frozen=True)
class Columns:
    """The columns of a source that hold texts and labels.

    Args:
        text: column of the texts.
        label: column of the labels; several 0/1 columns, one a label; `None`: none.
        text_pair: column of the second texts of pairs, or `None`.
        sentences: what was guessed and how to choose otherwise, a sentence each.
    """

    text: str
    label: str | tuple[str, ...] | None = None
    text_pair: str | None = None
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Column:
    """What a few rows tell of a column."""

    name: str
    values: tuple[Any, ...]  # without nulls

    @property
    def key(self) -> str:
        return re.sub(r"[\W_]+", "", self.name.lower())

    @property
    def is_string(self) -> bool:
        """Whether it holds strings that are not all numbers."""
        strings = all(isinstance(value, str) for value in self.values)
        return bool(self.values) and strings and not self.is_number

    @property
    def is_number(self) -> bool:
        return bool(self.values) and all(map(_is_number, self.values))

    @property
    def is_fraction(self) -> bool:
        """Whether it holds numbers that are not all whole: scores."""
        return self.is_number and any(float(v) % 1 for v in self.values)

    @property
    def is_flag(self) -> bool:
        """Whether it holds 0 and 1, or true and false, only."""
        return bool(self.values) and {value.lower() for value in self.distinct} <= {
            "0",
            "1",
            "true",
            "false",
        }

    @property
    def is_identifier(self) -> bool:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name).lower().strip()
        return not name or name.startswith("unnamed:") or bool(_is_id(name))

    @property
    def distinct(self) -> set[str]:
        return {_spell(value) for value in self.values}

    @property
    def mean_length(self) -> float:
        return sum(len(str(value)) for value in self.values) / len(self.values)

    @property
    def is_wordy(self) -> bool:
        """Whether most values are more than a word (or a long run of characters)."""
        strings = [value for value in self.values if isinstance(value, str)]
        long = [v for v in strings if len(v) > 30 or len(v.split()) > 1]
        return 2 * len(long) > len(self.values)


def find_columns(
    source: Any,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    text_pair: str | None = None,
    *,
    label_optional: bool = False,
    **reading: Any,
) -> Columns:
    """Guess the columns that are not named, where there is one sensible choice.

    Args:
        source: path, folder, `pandas.DataFrame`, `datasets.Dataset`, mapping of parts
            or tuple, as `load_splits` takes them.
        text: column of the texts; `None`: guessed by name, kind and length.
        label: column of the labels, or several 0/1 columns; `None`: guessed by name
            and by how few values it has.
        text_pair: column of the second texts of pairs; `None`: guessed only together
            with `text`, by names such as `sentence1` and `sentence2`.
        label_optional: whether `None` is returned where no column looks like labels.
        **reading: how to read a file: `encoding`, `columns`, `delimiter`, `quoting`.

    Returns:
        The columns, with a sentence for each that was guessed.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a column that was named is missing, or several columns or none
            would be a sensible guess.

    Example:
        >>> columns = kbert.data.find_columns("reviews.csv")
        >>> columns.text, columns.label
        ('review', 'stars')
    """
    if isinstance(source, list | tuple):  # of values, not of columns
        return _name_lists(source, text, label, text_pair)
    peeked = peek(source, Reading(text=text or "", label=None, **reading))
    columns = {
        name: _Column(name, tuple(value for value in values if value is not None))
        for name, values in peeked.columns.items()
    }
    if not any(column.values for column in columns.values()):
        raise ValueError(f"{peeked.name} holds no rows; pass a source that has some.")
    labels = (label,) if isinstance(label, str) else tuple(label or ())
    named = [name for name in (text, text_pair, *labels) if name is not None]
    for name in named:
        _check_named(name, list(columns), peeked.name)
    free = [column for name, column in columns.items() if name not in named]
    sentences = []
    if text is None:
        text, pair, sentence = _choose_texts(free, peeked.name, text_pair)
        text_pair = text_pair or pair
        sentences.append(sentence)
    free = [column for column in free if column.name not in (text, text_pair)]
    if label is None:
        label, said = _choose_label(free, peeked.name, label_optional)
        sentences += [said] if said else []
    elif not isinstance(label, str):
        label = tuple(label)
    return Columns(text, label, text_pair, tuple(sentences))


def _name_lists(
    source: list | tuple, text: str | None, label: Any, text_pair: str | None
) -> Columns:
    """Name what (texts, labels) or (texts, text_pairs, labels) become."""
    texts = isinstance(source, list) and all(isinstance(t, str | None) for t in source)
    labelled = not texts and len(source) > 1 and source[-1] is not None
    paired = not texts and len(source) == 3
    return Columns(
        text or "text",
        (label or "label") if labelled else None,
        (text_pair or "text_pair") if paired else None,
    )


def _check_named(name: str, names: list[str], source: str) -> None:
    if name not in names:
        raise ValueError(
            f"{source} has no column {name!r}{suggest(name, names)} It has "
            f"{', '.join(names)}."
        )


# === Texts ===


def _choose_texts(
    columns: list[_Column], source: str, given_pair: str | None
) -> tuple[str, str | None, str]:
    strings = [column for column in columns if column.is_string]
    pair = None if given_pair else _find_pair(strings)
    if pair is not None:
        first, second = pair
        return (
            first,
            second,
            f"Texts are in pairs in the columns {first!r} and {second!r} of {source}; "
            f"pass text= (--text) and text_pair= (--text-pair) for others.",
        )
    chosen = _choose_text(strings, columns, source)
    return (
        chosen.name,
        None,
        f"Texts are in the column {chosen.name!r} of {source}; pass text= (--text) "
        "for another.",
    )


def _find_pair(columns: list[_Column]) -> tuple[str, str] | None:
    names = {column.key: column.name for column in columns}
    pairs = list(_PAIRS)
    for key in names:
        if match := _NUMBERED.fullmatch(key):
            pairs.append((key, match[1] + {"1": "2", "a": "b"}[match[2]]))
    found = [(names[a], names[b]) for a, b in pairs if a in names and b in names]
    return found[0] if len(found) == 1 else None


def _choose_text(
    strings: list[_Column], columns: list[_Column], source: str
) -> _Column:
    wordy = [column for column in strings if column.is_wordy]
    varied = [column for column in strings if not _has_few_values(column)]
    candidates = [c for c in wordy or varied or strings if not c.is_identifier]
    for names in (*_TEXT_NAMES, None):
        tier = [c for c in candidates if names is None or c.key in names.split()]
        tier.sort(key=lambda column: column.mean_length, reverse=True)
        if not tier:
            continue
        if len(tier) == 1 or tier[0].mean_length >= _LONGER * tier[1].mean_length:
            return tier[0]
        raise ValueError(
            f"{source} has {len(tier)} columns that could hold the texts, "
            f"{_list(tier)}; pass text={tier[0].name!r} (--text {tier[0].name}) or "
            "another."
        )
    held = ", ".join(repr(column.name) for column in columns[:20]) or "none"
    raise ValueError(
        f"{source} has no column that looks like texts (its columns: {held}); pass "
        "text= (--text) with the column's name."
    )


# === Labels ===


def _choose_label(
    columns: list[_Column], source: str, optional: bool
) -> tuple[str | tuple[str, ...] | None, str | None]:
    candidates = [column for column in columns if _may_be_label(column)]
    for names in _LABEL_NAMES:
        tier = [column for column in candidates if column.key in names.split()]
        if tier:
            return _settle(tier, source)
    few = [column for column in candidates if _has_few_values(column)]
    flags = [column for column in candidates if column.is_flag]  # all 0 is a rare label
    if len(set(few) & set(flags)) > 1 and set(few) <= set(flags):
        return tuple(column.name for column in flags), (
            f"Labels are in {len(flags)} columns of 0 and 1 of {source}, "
            f"{_list(flags)}; pass label= (--label) for others."
        )
    if few:
        return _settle(few, source)
    if optional:
        return None, None
    held = ", ".join(repr(column.name) for column in columns[:20]) or "none"
    raise ValueError(
        f"{source} has no column that looks like labels (columns besides the texts: "
        f"{held}); pass label= (--label) with the column's name."
    )


def _settle(tier: list[_Column], source: str) -> tuple[str, str]:
    if len(tier) > 1:
        raise ValueError(
            f"{source} has {len(tier)} columns that could hold the labels, "
            f"{_list(tier)}; pass label={tier[0].name!r} (--label {tier[0].name}) or "
            "another."
        )
    column = tier[0]
    if column.is_fraction:
        words = f"numbers, such as {_spell(column.values[0])}"
    else:
        found = sorted(column.distinct)
        shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        words = f"such as {shown}"
    return column.name, (
        f"Labels are in the column {column.name!r} of {source} ({words[:200]}); pass "
        "label= (--label) for another."
    )


def _may_be_label(column: _Column) -> bool:
    plain = all(isinstance(v, str | int | float | list) for v in column.values)
    return bool(column.values) and plain and not column.is_identifier


def _has_few_values(column: _Column) -> bool:
    """Whether values recur, as classes do; or are scores."""
    if column.is_fraction:
        return True
    if any(isinstance(value, list) for value in column.values):
        return False
    num_values, most = len(column.values), max(2, len(column.values) // 4)
    recurring = 2 <= len(column.distinct) <= min(_FEW_VALUES, most)
    return recurring and num_values > 2 and not column.is_wordy


# === Values ===


def _is_id(name: str) -> re.Match[str] | None:
    return _IDENTIFIER.fullmatch(name)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_NUMBER.fullmatch(value.strip()))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _list(columns: list[_Column]) -> str:
    names = [repr(column.name) for column in columns[:20]]
    return " and ".join(names) if len(names) == 2 else ", ".join(names)
