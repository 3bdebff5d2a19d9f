"""How long the texts are to a preset, and what it cannot read."""

from dataclasses import dataclass

import numpy as np

from kbert.encoded import Encoded, Truncation
from kbert.inspection.rows import Rows
from kbert.ragged import offsets_of
from kbert.text import Preprocessor

LEAST_UNKNOWN = 0.5  # share of a text's tokens


@dataclass(frozen=True)
class Tokens:
    """The texts as a preset's tokenizer sees them.

    Args:
        lengths: int32 (n,), tokens of each row before truncation, those around the
            texts included.
        unknown: float32 (n,), share of unknown tokens among those of the texts.
        max_length: longest row that is read whole.
        truncation: what that length cuts off.
    """

    lengths: np.ndarray
    unknown: np.ndarray
    max_length: int
    truncation: Truncation


def count_tokens(rows: Rows, preprocessor: Preprocessor) -> Tokens:
    """Tokenize every row, and keep only numbers.

    Args:
        rows: all rows.
        preprocessor: with the length that truncation is measured for.

    Returns:
        The numbers.
    """
    lengths, unknown = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.float32)
    for positions, columns in rows.chunks():
        encoded = preprocessor.encode(*columns)
        lengths[positions] = encoded.full_lengths
        unknown[positions] = _share_unknown(encoded, preprocessor)
    windows = preprocessor.windows
    longest = windows.coverage if windows else preprocessor.max_length
    kept = np.minimum(lengths, longest)
    cut = Encoded(np.empty(0, np.int32), offsets_of(kept), kept, lengths)
    return Tokens(lengths, unknown, longest, cut.truncation)


def _share_unknown(encoded: Encoded, preprocessor: Preprocessor) -> np.ndarray:
    tokenizer = preprocessor.tokenizer
    around = (tokenizer.start_id, tokenizer.end_id)
    starts = encoded.offsets[:-1]
    if not len(starts):
        return np.zeros(0)
    unknown = np.add.reduceat(encoded.ids == tokenizer.unknown_id, starts, dtype=int)
    inside = np.add.reduceat(~np.isin(encoded.ids, around), starts, dtype=int)
    return unknown / np.maximum(1, inside)
