"""Which characters of a text each of its tokens stands for."""

import re
from collections.abc import Sequence

import numpy as np

from kbert.tokenizer import Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")
# The library keeps its tokens as Python objects until they are arrays.
_TEXTS_AT_ONCE = 1024


def find_token_spans(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn texts into token ids, and find the characters of each.

    Args:
        tokenizer: of the encoder.
        texts: strings.

    Returns:
        int32 ids (num_tokens,), text after text; their int64 offsets
        (num_texts + 1,); and int64 (num_tokens, 2), the first character of each token
        in its text and one past its last. White space before a token is no part of it.
    """
    parts = [
        _find(tokenizer, texts[start : start + _TEXTS_AT_ONCE])
        for start in range(0, len(texts), _TEXTS_AT_ONCE)
    ] or [_find(tokenizer, [])]
    ids, lengths, spans = (np.concatenate(one) for one in zip(*parts, strict=True))
    return ids, np.cumsum([0, *lengths], dtype=np.int64), spans


def _find(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, ...]:
    # One character for one, so that the places of the others stay.
    texts = [_SURROGATE.sub("\ufffd", text) for text in texts]
    encodings = tokenizer._backend.encode_batch(texts, add_special_tokens=False)
    ids = np.array([one for e in encodings for one in e.ids], np.int32)
    lengths = np.array([len(e.ids) for e in encodings], np.int64)
    spans = np.array([one for e in encodings for one in e.offsets], np.int64)
    spans = spans.reshape(-1, 2)
    if tokenizer.takes_space:
        _skip_blanks(spans, texts, lengths)
    return ids, lengths, spans


def _skip_blanks(spans: np.ndarray, texts: Sequence[str], lengths: np.ndarray) -> None:
    """Move the first characters of tokens behind the white space in front of them."""
    blank = np.array([c.isspace() for text in texts for c in text], bool)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    starts = np.repeat(ends - np.array([len(text) for text in texts]), lengths)
    tokens = np.arange(len(spans))
    while len(tokens):
        tokens = tokens[spans[tokens, 0] < spans[tokens, 1]]
        tokens = tokens[blank[starts[tokens] + spans[tokens, 0]]]
        spans[tokens, 0] += 1
