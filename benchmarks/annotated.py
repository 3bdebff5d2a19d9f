"""Rows whose labels lie in their texts: tagged words, and answers to questions."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import PROBLEMS
from kbert.data import load_split
from kbert.recipes.sources import SAMPLES
from kbert.tasks import Request

_TEXTS_A_CONTEXT = 4


def read_annotated(kind: str, path: Path | None, test: Any) -> tuple[list, tuple]:
    """Read sentences or questions as kbert's tasks do.

    Args:
        kind: `tag` or `answer`.
        path: of the file; `None` makes rows of the bundled sample.
        test: file or share of the rows that are only measured on, or `None`.

    Returns:
        The parts, train first, and the names of the tags.
    """
    source = path or _MAKERS[kind]()
    splits = PROBLEMS[kind].task.load(
        Request(source=source, validation=None, test=test)
    )
    return list(splits.parts.values()), tuple(splits.label_names)


def join_parts(parts: list) -> Any:
    """Put the rows of several parts, train first, into one."""
    whole = parts[0]
    for part in parts[1:]:
        joined = {}
        for name in (one.name for one in fields(whole)):
            first, second = getattr(whole, name), getattr(part, name)
            if isinstance(first, list):
                joined[name] = first + second
            elif isinstance(first, np.ndarray):
                joined[name] = np.concatenate([first, second])
        whole = replace(whole, **joined)
    return whole


def _read_sample() -> list[str]:
    split = load_split(SAMPLES / "tweets/train.csv", text="text", label="target")
    return [text for text in split.texts if len(text.split()) > 1]


def _make_sentences() -> tuple[list[list[str]], list[list[str]]]:
    """Return the words of tweets, and tags that the words themselves tell."""
    words = [text.split() for text in _read_sample()]
    return words, [[_tag(word) for word in one] for one in words]


def _tag(word: str) -> str:
    if word[0] in "#@":
        return "B-SIGN"
    return "B-NAME" if word[0].isupper() else "O"


def _make_questions() -> Any:
    """Return tweets joined to texts, and for each how one of its tweets goes on."""
    import pyarrow

    texts = _read_sample()
    generator = np.random.default_rng(0)
    rows = []
    for text in texts:
        others = generator.choice(len(texts), _TEXTS_A_CONTEXT - 1, replace=False)
        joined = [text, *(texts[other] for other in others)]
        order = generator.permutation(len(joined))
        words = text.split()
        rows.append(
            {
                "question": " ".join(words[:-1]),
                "context": " ".join(joined[place] for place in order),
                "answer": words[-1],
            }
        )
    return pyarrow.Table.from_pylist(rows)


_MAKERS: dict[str, Callable[[], Any]] = {
    "tag": _make_sentences,
    "answer": _make_questions,
}
