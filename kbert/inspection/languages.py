"""Find texts in another language than most of a data set's.

py3langid tells languages well from some ten words on. Only texts that are long enough
are asked about, and only an answer of high probability counts; a text whose words are
mostly those that are frequent in the main language needs no asking, which makes this
quick.
"""

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from kbert.inspection.near import split_words
from kbert.inspection.rows import Rows

LEAST_BYTES = 40  # of letters, in UTF-8: 40 Latin letters, 14 Chinese characters
LEAST_PROBABILITY = 0.9
MOST_ASKED = 100_000
_SAMPLE = 1_000
_NUM_COMMON = 200
_LEAST_COMMON = 0.3  # share of a text's words
_MOST_CHARACTERS = 400  # of a text that are looked at
_NO_WORDS = re.compile(r"(?:https?://|www\.)\S+|[@#]\w+|[\W\d_]+")
_NO_LANGUAGE = "zxx"
_PIDGIN = "pcm"  # English headlines about Nigeria are taken for it


def find_languages(
    rows: Rows, seed: int
) -> tuple[dict[str, int], dict[int, str], int, bool]:
    """Find the main language and the rows in others.

    Args:
        rows: all rows.
        seed: of the sample that the main language is found with.

    Returns:
        Language (ISO 639) to the rows it was found in (the main one first; rows that
        could not be told are left out), position of each row in another language to
        that language, rows that were long enough, and whether all of them were seen.
    """
    sample = _read_sample(rows, seed)
    told = [(_tell(text), text) for text in sample]
    counts = Counter(language for language, _ in told if language)
    if not counts:
        return {}, {}, 0, True
    main = counts.most_common(1)[0][0]
    common = _common_words([text for language, text in told if language == main])
    found: Counter[str] = Counter()
    others: dict[int, str] = {}
    num_long = num_asked = 0
    for positions, columns in rows.chunks():
        for position, texts in zip(
            positions.tolist(), zip(*columns, strict=True), strict=True
        ):
            text = _letters(" ".join(texts))
            if len(text.encode("utf-8", "replace")) < LEAST_BYTES:
                continue
            num_long += 1
            if _is_common(text, common):
                found[main] += 1
                continue
            num_asked += 1
            if num_asked > MOST_ASKED:
                return _order(found, main), others, num_long - 1, False
            language = _tell(text)
            if language:
                found[language] += 1
            if language and language != main:
                others[position] = language
    return _order(found, main), others, num_long, True


def _order(found: Counter[str], main: str) -> dict[str, int]:
    rest = [(name, n) for name, n in found.most_common() if name != main]
    return {main: found[main], **dict(rest)}


def _read_sample(rows: Rows, seed: int) -> list[str]:
    size = min(len(rows), 3 * _SAMPLE)
    drawn = np.random.default_rng(seed).choice(len(rows), size, replace=False)
    texts = [
        _letters(" ".join(texts))
        for _, columns in rows.chunks(np.sort(drawn))
        for texts in zip(*columns, strict=True)
    ]
    long = [t for t in texts if len(t.encode("utf-8", "replace")) >= LEAST_BYTES]
    return long[:_SAMPLE]


def _letters(text: str) -> str:
    return _NO_WORDS.sub(" ", text[:_MOST_CHARACTERS]).strip()


def _common_words(texts: list[str]) -> frozenset[str]:
    counts = Counter(word for text in texts for word in split_words(text))
    return frozenset(word for word, _ in counts.most_common(_NUM_COMMON))


def _is_common(text: str, common: frozenset[str]) -> bool:
    words = split_words(text)
    return sum(word in common for word in words) >= _LEAST_COMMON * max(1, len(words))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([name for name in identifier.labels if name != _PIDGIN])
    return identifier


def _tell(text: str) -> str | None:
    """Return the language of a text, where it is clear."""
    language, probability = _identifier().classify(text)
    return (
        language
        if probability >= LEAST_PROBABILITY and language != _NO_LANGUAGE
        else None
    )
