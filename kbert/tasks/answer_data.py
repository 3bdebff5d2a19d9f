"""Questions about texts: SQuAD's JSON, JSON lines or tables, read and checked."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data.files import Reading
from kbert.data.sources import read_source
from kbert.tasks.parts import (
    TaskSplits,
    assemble,
    find_sources,
    load_parts,
    read_text,
)
from kbert.tasks.task import Request

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
# Tokens of a window, question included, unless told; as in BERT's own SQuAD script.
ANSWER_LENGTH = 384
_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_ANSWER_COLUMNS = ("answer", "answers", "answer_text")
_START_COLUMNS = ("answer_start", "start")


@dataclass(frozen=True)
class Gold:
    """A right answer.

    Args:
        text: its characters.
        start: place of the first in the context, from 0; -1: it is not there.
    """

    text: str
    start: int


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions, the texts that answer them, and perhaps the answers.

    Args:
        questions: a question a row.
        contexts: the text that each is about.
        answers: the right ones of each question, none where the text has none; `None`
            if unlabelled.
        ids: as the source names the questions, or their numbers.
        rows: int64 (n,), number of each question in its source, from 0.
        groups: int64 (n,), number of the article or, without titles, of the text.
        name: of the source, for messages.
    """

    questions: list[str]
    contexts: list[str]
    answers: list[list[Gold]] | None
    ids: list[str]
    rows: np.ndarray
    groups: np.ndarray
    name: str

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.questions)

    def __getitem__(self, index: Any) -> "Questions":
        """Select questions by a position, a slice, positions or booleans."""
        return self.take(np.atleast_1d(np.arange(len(self))[index]))

    @property
    def texts(self) -> list[str]:
        """The questions."""
        return self.questions

    @property
    def text_pairs(self) -> list[str]:
        """The texts that they are about."""
        return self.contexts

    @property
    def labels(self) -> list[list[str]] | None:
        """Texts of the right answers of each question; `None` if unlabelled."""
        if self.answers is None:
            return None
        return [[one.text for one in golds] for golds in self.answers]

    @property
    def has_unanswerable(self) -> bool:
        """Whether a question has no answer."""
        return not all(self.answers or [True])

    @property
    def keys(self) -> list[tuple[Hashable, Hashable]]:
        """Question and text of each row, and its answers."""
        answers = self.labels or [[]] * len(self)
        rows = zip(self.questions, self.contexts, answers, strict=True)
        return [((q, c), tuple(sorted(set(a)))) for q, c, a in rows]

    def take(self, rows: np.ndarray) -> "Questions":
        """Return some questions, by their positions."""
        return replace(
            self,
            questions=[self.questions[row] for row in rows],
            contexts=[self.contexts[row] for row in rows],
            answers=self.answers and [self.answers[row] for row in rows],
            ids=[self.ids[row] for row in rows],
            rows=self.rows[rows],
            groups=self.groups[rows],
        )


def load_questions(request: Request) -> TaskSplits:
    """Read, check and split questions with their answers.

    A share is cut by article (its title), or by text where there are no titles, so
    that no part holds what another was trained on.

    Args:
        request: `text`, `text_pair` and `label` name the columns of questions, texts
            and answers; `None`: `question`, `context`, and `answer` or `answers`.

    Returns:
        The splits; the parts are `Questions`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a row is wrong (it is named).
    """
    sources, shares = find_sources(
        request.source, request.validation, request.test, SUFFIXES
    )

    def read(source: Any) -> tuple[Questions, str, str]:
        questions, words, digest = read_questions(
            source,
            text=request.text,
            text_pair=request.text_pair,
            label=request.label,
            reading=request.layout,
        )
        if questions.answers is None:
            raise ValueError(f"{words} has no answers; name their column with label.")
        return questions, words, digest

    parts, words, digest = load_parts(
        sources, shares, read, request.seed, request.limit
    )
    return assemble(parts, (), words, digest)


def read_questions(
    source: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: Any = None,
    reading: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> tuple[Questions, str, str]:
    """Read questions.

    Args:
        source: path of a SQuAD file (version 1 or 2), of JSON lines or of a table, or
            whatever `kbert.load_splits` reads.
        text: column of the questions; `None`: `question`.
        text_pair: column of the texts; `None`: `context`.
        label: column of the answers; `None`: `answer` or `answers`. A column
            `answer_start` says where they begin; without it the first place counts.
        reading: further arguments of `kbert.load_splits`, such as `encoding`.
        strict: refuse blank texts and answers that are not at their place; else these
            are taken, and such answers start at -1.

    Returns:
        The questions, what was read in words, and its SHA-256.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is wrong; the sentence names it.
    """
    names = (text or "question", text_pair or "context", label)
    is_path = isinstance(source, str | Path)
    if is_path and Path(source).suffix.lower() in _JSON_SUFFIXES:
        path = Path(source)
        content, digest = read_text(path, (reading or {}).get("encoding"))
        squad = _parse_squad(content)
        if squad is not None:
            rows, words = _read_articles(squad, path, strict), f"SQuAD file {path}"
        else:
            rows = _read_records(_parse_lines(content, path), names, strict)
            words = f"JSON lines file {path}"
        return _collect(rows, path.name), words, digest
    columns = Reading(text=names[0], text_pair=names[1], label=None, **(reading or {}))
    table = read_source(source, columns)
    records = (
        (f"{table.name} row {k:,}", r) for k, r in enumerate(table.table.to_pylist())
    )
    return (
        _collect(_read_records(records, names, strict), table.name),
        table.words,
        table.digest,
    )


_Row = tuple[str, str, list[Gold] | None, Any, Any]


def _collect(rows: Iterator[_Row], name: str) -> Questions:
    read = list(rows)
    if not read:
        raise ValueError(f"{name} holds no question; pass a source that has some.")
    questions, contexts, answers, ids, titles = map(list, zip(*read, strict=True))
    labelled = any(one is not None for one in answers)
    places: dict[Any, int] = {}
    groups = [
        places.setdefault(context if title is None else (title,), len(places))
        for title, context in zip(titles, contexts, strict=True)
    ]
    return Questions(
        questions,
        contexts,
        [one or [] for one in answers] if labelled else None,
        [str(row if one is None else one) for row, one in enumerate(ids)],
        np.arange(len(read)),
        np.array(groups, np.int64),
        name,
    )


# === SQuAD ===


def is_squad(path: Path, encoding: str | None = None) -> bool:
    """Whether a file has the form of SQuAD's.

    Args:
        path: of the file.
        encoding: of its text.

    Returns:
        Whether it is one JSON object with a list `data`.
    """
    if path.suffix.lower() not in _JSON_SUFFIXES:
        return False
    return _parse_squad(read_text(path, encoding)[0]) is not None


def _parse_squad(content: str) -> list | None:
    """Return the articles of a SQuAD file; `None` if it is something else."""
    try:
        data = json.loads(content)
    except ValueError:
        return None
    articles = data.get("data") if isinstance(data, dict) else None
    return articles if isinstance(articles, list) else None


def _read_articles(articles: list, path: Path, strict: bool) -> Iterator[_Row]:
    for number, article in enumerate(articles):
        for place, paragraph in enumerate(
            _get(article, "paragraphs", list, f"{path} article {number}")
        ):
            where = f"{path} article {number}, paragraph {place}"
            context = _get(paragraph, "context", str, where)
            for question in _get(paragraph, "qas", list, where):
                text = _get(question, "question", str, where)
                at = f"{where}, question {question.get('id', text)!r}"
                golds = None
                if "answers" in question:
                    none = question.get("is_impossible")
                    given = [] if none else question["answers"]
                    golds = _read_golds(given, None, context, at, strict)
                title = article.get("title", number)
                yield text, context, golds, question.get("id"), title


def _get(record: Any, name: str, kind: type, where: str) -> Any:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        word = {"str": "text", "list": "list"}[kind.__name__]
        raise ValueError(
            f"{where} has no {word} {name!r}; write it as SQuAD's files have it."
        )
    return value


# === Rows ===


def _parse_lines(content: str, path: Path) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} line {number:,}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{where} is not JSON ({error}); write one object a line, or a whole "
                "file as SQuAD's."
            ) from None
        if not isinstance(record, dict):
            raise ValueError(f"{where} is no JSON object; write one object a line.")
        yield where, record


def _read_records(
    records: Iterator[tuple[str, dict]], names: tuple[str, str, Any], strict: bool
) -> Iterator[_Row]:
    question_name, context_name, label = names
    for number, (where, record) in enumerate(records):
        if number == 0:
            label = _choose_column(record, label, where)
        question = _get_text(record, question_name, where, strict)
        context = _get_text(record, context_name, where, strict)
        golds = None
        if label is not None:
            starts = next((record[n] for n in _START_COLUMNS if n in record), None)
            golds = _read_golds(record.get(label), starts, context, where, strict)
        yield question, context, golds, record.get("id"), record.get("title")


def _get_text(record: dict, name: str, where: str, strict: bool) -> str:
    text = record.get(name)
    if not strict and name in record and text is None:
        return ""
    if not isinstance(text, str) or (strict and not text.strip()):
        raise ValueError(f"{where} has no text {name!r}; write one.")
    return text


def _choose_column(record: dict, asked: str | None, where: str) -> str | None:
    found = [name for name in ([asked] if asked else _ANSWER_COLUMNS) if name in record]
    if asked and not found:
        listed = ", ".join(map(str, record))
        raise ValueError(f"{where} has no {asked!r}. It has {listed}.")
    return found[0] if found else None


def _read_golds(
    value: Any, starts: Any, context: str, where: str, strict: bool
) -> list[Gold]:
    """Read answers however they are written; null and blank ones are none."""
    if isinstance(value, dict):  # as Hugging Face writes them
        value, starts = value.get("text", []), value.get("answer_start")
    if value is None or isinstance(value, str):
        value, starts = [value], [starts]
    if not isinstance(value, Sequence):
        raise ValueError(f"{where}: an answer must be a text; received {value!r:.60}.")
    starts = [None] * len(value) if starts is None else starts
    if not isinstance(starts, Sequence) or len(starts) != len(value):
        raise ValueError(f"{where} has {len(value)} answers and not as many starts.")
    pairs = [
        (one.get("text"), one.get("answer_start"))
        if isinstance(one, dict)
        else (one, at)
        for one, at in zip(value, starts, strict=True)
    ]
    return [
        _check_gold(*pair, context, where, strict)
        for pair in pairs
        if pair[0] not in (None, "")
    ]


def _check_gold(text: Any, start: Any, context: str, where: str, strict: bool) -> Gold:
    if not isinstance(text, str):
        raise ValueError(f"{where}: an answer must be a text; received {text!r:.60}.")
    if start is None:
        start = context.find(text)
        if start < 0 and strict:
            raise ValueError(
                f"{where}: the answer {text[:60]!r} does not occur in its text; write "
                "it as it stands there."
            )
    elif isinstance(start, bool) or not isinstance(start, int) or start < 0:
        raise ValueError(
            f"{where}: an answer's start must be a whole number, 0 or more; received "
            f"{start!r}."
        )
    elif not context.startswith(text, start):
        if not strict:
            return Gold(text, -1)
        raise ValueError(
            f"{where}: the answer {text[:60]!r} is not at character {start} of its "
            f"text, but {context[start : start + len(text)][:60]!r}; correct the "
            "start, or leave it out to have it found."
        )
    return Gold(text, start)
