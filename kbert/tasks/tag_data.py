"""Tagged words: CoNLL files, JSON lines, or lists, read and checked."""

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data.files import suggest
from kbert.evaluation.entities import split_tag
from kbert.tasks.parts import TaskSplits, assemble, find_sources, load_parts
from kbert.tasks.parts import read_lines as read_file_lines
from kbert.tasks.task import Request

_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
CONLL_SUFFIXES = (".txt", ".conll", ".bio", ".iob")
SUFFIXES = (*CONLL_SUFFIXES, ".tsv", *_JSON_SUFFIXES)
_DOCUMENT = "-DOCSTART-"
WORD_FIELDS = ("tokens", "words")
_TAG_FIELDS = ("tags", "ner_tags", "labels")
_PREFIX_ORDER = "BIELSU"


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences of words, with or without a tag for each word.

    Args:
        words: of each sentence.
        tags: of each sentence, as they were read; `None` if untagged.
        rows: int64 (n,), number of each sentence in its source, from 0.
        groups: int64 (n,), number of the document it is of.
        name: of the source, for messages.
        label_names: tags in id order; `()` until they are known.
    """

    words: list[list[str]]
    tags: list[list[str]] | None
    rows: np.ndarray
    groups: np.ndarray
    name: str
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.words)

    def __getitem__(self, index: Any) -> "Sentences":
        """Select sentences by a position, a slice, positions or booleans."""
        return self.take(np.atleast_1d(np.arange(len(self))[index]))

    @property
    def texts(self) -> list[str]:
        """The words of each sentence, joined by blanks."""
        return [" ".join(words) for words in self.words]

    @property
    def offsets(self) -> np.ndarray:
        """Where each sentence begins among all words, and the end, int64 (n + 1,)."""
        return np.cumsum([0, *map(len, self.words)], dtype=np.int64)

    @property
    def labels(self) -> list[np.ndarray] | None:
        """Ids of the tags of each sentence, int32; `None` if untagged."""
        if self.tags is None:
            return None
        ids = {name: label for label, name in enumerate(self.label_names)}
        return [np.array([ids[t] for t in tags], np.int32) for tags in self.tags]

    @property
    def keys(self) -> list[tuple[Hashable, Hashable]]:
        """Words of each sentence, and its tags."""
        tags = self.tags or [[]] * len(self)
        return [(tuple(w), tuple(t)) for w, t in zip(self.words, tags, strict=True)]

    def take(self, rows: np.ndarray) -> "Sentences":
        """Return some sentences, by their positions."""
        return replace(
            self,
            words=[self.words[row] for row in rows],
            tags=self.tags and [self.tags[row] for row in rows],
            rows=self.rows[rows],
            groups=self.groups[rows],
        )


def load_sentences(request: Request) -> TaskSplits:
    """Read, check and split tagged sentences.

    A folder's own `valid.txt` and `test.txt` come before shares. Sentences of one
    document (`-DOCSTART-`) stay in one part.

    Args:
        request: `text` and `label` name fields of JSON lines, and `label` the number
            of a CoNLL file's column of tags, from 0, or from the last, -1.

    Returns:
        The splits; the parts are `Sentences`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is wrong (it is named), or a tag unknown.
    """
    sources, shares = find_sources(
        request.source, request.validation, request.test, SUFFIXES
    )
    parts, words, digest = load_parts(
        sources, shares, lambda one: _read_labelled(one, request), request.seed,
        request.limit,
    )  # fmt: skip
    names = tuple(request.label_names or _name_tags(parts["train"].tags))
    for name, part in parts.items():
        parts[name] = _name(part, names, name)
    if len(names) < 2:
        raise ValueError(
            f"all words of {parts['train'].name} have the tag {names[0]!r}; tagging "
            "needs words of at least two tags."
        )
    return assemble(parts, names, words, digest)


def _read_labelled(source: Any, request: Request) -> tuple[Sentences, str, str]:
    sentences, words, digest = read_sentences(
        source, text=request.text, label=request.label, reading=request.reading
    )
    if sentences.tags is None:
        raise ValueError(f"{words} has no tags; name their column or field.")
    return sentences, words, digest


def _name_tags(sentences: Sequence[Sequence[str]]) -> list[str]:
    """Return O and then every prefix in use of every type, types in alphabet order."""
    seen = {tag for tags in sentences for tag in tags}
    prefixes = {tag[0] for tag in seen} - {"O"}
    types = {(split_tag(tag)[1], tag[1:]) for tag in seen if tag != "O"}
    ordered = sorted(prefixes, key=_PREFIX_ORDER.index)
    return ["O", *(prefix + end for _, end in sorted(types) for prefix in ordered)]


def _name(part: Sentences, names: tuple[str, ...], where: str) -> Sentences:
    known = set(names)
    for row, tags in enumerate(part.tags or ()):
        for tag in tags:
            if tag not in known:
                raise ValueError(
                    f"the tag {tag!r} of sentence {part.rows[row]:,} of {part.name} "
                    f"({where}) is not among the tags to train on, {', '.join(names)}; "
                    "correct it, or train on rows that have it."
                )
    return replace(part, label_names=names)


def read_sentences(
    source: Any,
    *,
    text: str | None = None,
    label: Any = None,
    reading: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> tuple[Sentences, str, str]:
    """Read sentences of words.

    Args:
        source: path of a CoNLL file (a word a line, a blank line after each sentence)
            or of JSON lines; `(words, tags)` or `words`, lists of lists; or an object
            with columns (`datasets.Dataset`, `pandas.DataFrame`).
        text: field of the words; `None`: `tokens` or `words`.
        label: field of the tags; `None`: `tags`, `ner_tags` or `labels`. Of a CoNLL
            file the number of the column; `None`: the last.
        reading: `encoding` of files.
        strict: refuse blank words and tags that are none; else they stay as they are.

    Returns:
        The sentences, what was read in words, and its SHA-256.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is wrong; the sentence names it.
    """
    encoding = (reading or {}).get("encoding")
    if not isinstance(source, str | Path):
        return _read_object(source, text, label, strict)
    path = Path(source)
    lines, digest = read_file_lines(path, encoding)
    if path.suffix.lower() in _JSON_SUFFIXES:
        rows = _read_json(lines, path, (text, label), strict)
        return _collect(rows, path.name), f"JSON lines file {path}", digest
    column = _read_column(label)
    rows = _read_conll(lines, path, column, strict)
    return _collect(rows, path.name), f"CoNLL file {path}", digest


_Row = tuple[list[str], list[str] | None, int]


def _collect(rows: Iterator[_Row], name: str) -> Sentences:
    read = list(rows)
    if not read:
        raise ValueError(f"{name} holds no sentence; pass a source that has some.")
    tags = [row[1] for row in read if row[1] is not None]
    groups = np.array([row[2] for row in read], np.int64)
    if not groups.any():
        groups = np.arange(len(read))
    words = [row[0] for row in read]
    return Sentences(words, tags or None, np.arange(len(read)), groups, name)


# === CoNLL ===


def _read_column(label: Any) -> int | None:
    try:
        return None if label is None else int(label)
    except (TypeError, ValueError):
        raise ValueError(
            "label must be the number of a CoNLL file's column of tags, such as -1 for "
            f"the last; received {label!r}."
        ) from None


def _read_conll(
    lines: Iterator[str], path: Path, column: int | None, strict: bool
) -> Iterator[_Row]:
    words: list[str] = []
    tags: list[str] = []
    width = document = 0
    for number, line in enumerate(lines, 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or fields[0] == _DOCUMENT:
            if words:
                yield words, tags if width > 1 else None, document
                words, tags = [], []
            document += bool(fields) and fields[0] == _DOCUMENT
            continue
        width = width or len(fields)
        where = f"{path} line {number:,}"
        if strict and not fields[0].strip():
            raise ValueError(f"{where} has no word; write one, or remove the line.")
        tag = _read_tag(fields, width, column, where)
        if strict and width > 1:
            _check_tag(tag, where)
        words.append(fields[0].strip())
        tags.append(tag)
    if words:
        yield words, tags if width > 1 else None, document


def _read_tag(fields: list[str], width: int, column: int | None, where: str) -> str:
    """Return a line's tag, or raise a sentence about what is wrong with the line."""
    if len(fields) != width:
        raise ValueError(
            f"{where} has {len(fields)} columns and the lines before {width}; write a "
            "word and its tags on each line and a blank line after each sentence."
        )
    if width == 1:
        return ""
    column = -1 if column is None else column
    if not -width <= column < width:
        raise ValueError(
            f"{where} has {width} columns, so there is none of number {column}; name "
            f"one from 0 to {width - 1}, or -1 for the last."
        )
    return fields[column].strip()


def _check_tag(tag: str, where: str) -> None:
    try:
        split_tag(tag)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


# === JSON lines and objects ===


def _read_json(
    lines: Iterator[str], path: Path, asked: tuple[str | None, Any], strict: bool
) -> Iterator[_Row]:
    names: tuple[Any, Any] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path} line {number:,}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{where} is not JSON ({error}); write one object a line."
            ) from None
        if not isinstance(row, dict):
            raise ValueError(f"{where} is no JSON object; write one object a line.")
        if names is None:
            tag_name = _choose_field(row, asked[1], _TAG_FIELDS, where, optional=True)
            names = _choose_field(row, asked[0], WORD_FIELDS, where), tag_name
        for name in names:
            if name is not None and name not in row:
                raise ValueError(f"{where} has no field {name!r}; add it.")
        yield _check_row(row[names[0]], row.get(names[1]), where, strict)


def _choose_field(
    names: Any,
    asked: str | None,
    usual: Sequence[str],
    where: str,
    optional: bool = False,
) -> str | None:
    found = [name for name in ([asked] if asked else usual) if name in names]
    if found or (optional and not asked):
        return found[0] if found else None
    listed = ", ".join(map(str, names))
    advice = suggest(asked, map(str, names)) if asked else "."
    raise ValueError(f"{where} has no {asked or usual[0]!r}{advice} It has {listed}.")


def _check_row(words: Any, tags: Any, where: str, strict: bool) -> _Row:
    if not isinstance(words, Sequence) or isinstance(words, str):
        raise ValueError(f"{where}: the words must be a list; received {words!r:.60}.")
    for word in words:
        if not isinstance(word, str) or (strict and not word.strip()):
            raise ValueError(
                f"{where}: each word must be a string that is not blank; received "
                f"{word!r}."
            )
    if tags is None:
        return list(words), None, 0
    if not isinstance(tags, Sequence) or isinstance(tags, str):
        raise ValueError(f"{where}: the tags must be a list; received {tags!r:.60}.")
    if len(tags) != len(words):
        raise ValueError(
            f"{where} has {len(words)} words and {len(tags)} tags; give every word one."
        )
    for tag in tags:
        if not isinstance(tag, str):
            raise ValueError(
                f"{where}: tags must be strings such as B-PER; received {tag!r}. Write "
                "their names."
            )
        if strict:
            _check_tag(tag, where)
    return list(words), list(tags), 0


def _read_object(
    source: Any, text: str | None, label: Any, strict: bool
) -> tuple[Sentences, str, str]:
    name = f"the {type(source).__name__}"
    columns = getattr(source, "column_names", getattr(source, "columns", None))
    if columns is not None:
        text = _choose_field(list(columns), text, WORD_FIELDS, name)
        label = _choose_field(list(columns), label, _TAG_FIELDS, name, optional=True)
        words = [list(row) for row in source[text]]
        tags = _read_tags(source, label)
    else:
        words, tags = source if isinstance(source, tuple) else (source, None)
    if tags is not None and len(words) != len(tags):
        raise ValueError(f"{name} has {len(words)} sentences and {len(tags)} of tags.")
    rows = (
        _check_row(
            one, None if tags is None else tags[row], f"{name} row {row:,}", strict
        )
        for row, one in enumerate(words)
    )
    sentences = _collect(rows, name)
    content = repr((sentences.words, sentences.tags)).encode("utf-8", "replace")
    return sentences, f"{name} in memory", hashlib.sha256(content).hexdigest()


def _read_tags(source: Any, label: str | None) -> list[list[Any]] | None:
    if label is None:
        return None
    features = getattr(source, "features", {}).get(label)
    names = getattr(getattr(features, "feature", None), "names", None)
    tags = [list(row) for row in source[label]]
    return [[names[tag] for tag in row] for row in tags] if names else tags
