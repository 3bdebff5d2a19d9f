"""Texts and pairs of texts to `token_ids`, `segment_ids` and `padding_mask`.

`Preprocessor` cleans, tokenizes, truncates and pads; what it is made of can be had from
here as well: `Tokenizer`, `Encoded` and `Truncation`, and the cleanings.
"""

import logging
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kbert.cleaning import (
    CLEANINGS,
    STEPS,
    Cleaning,
    Step,
    clean_text,
    describe_cleaning,
    resolve_cleaning,
)
from kbert.encoded import INPUT_NAMES, Encoded, Truncation
from kbert.long_texts import (
    LongText,
    choose_head,
    choose_head_tail,
    resolve_windows,
    truncate,
)
from kbert.ragged import offsets_of, ranges
from kbert.tokenizer import Tokenizer

__all__ = [
    "CLEANINGS",
    "INPUT_NAMES",
    "STEPS",
    "Encoded",
    "Preprocessor",
    "Tokenizer",
    "Truncation",
    "clean_text",
]

# The library keeps some 150 bytes a token until its tokens are arrays: this many
# characters at a time are enough for every core and cost about 50 MB.
_CHARACTERS_AT_ONCE = 1 << 20

# Files of earlier versions lack these.
_LONG_TEXT_SETTINGS = ("long_text", "window_overlap", "max_windows")

_logger = logging.getLogger("kbert")


class Preprocessor:
    """Makes an encoder's inputs from texts or pairs of texts.

    Pairs that are too long lose tokens from the end of the longer text first, as with
    transformers' `truncation="longest_first"`. May be called from several threads.

    Args:
        tokenizer: the encoder's own.
        max_length: longest row, in tokens, those around the texts included.
        input_names: the encoder's inputs, of `token_ids`, `segment_ids` and
            `padding_mask`; segments are all 0 in RoBERTa's format, which has none.
        clean: done to every text first: a name of `CLEANINGS`, or a sequence of names
            of `STEPS` and own functions from text to text; `None` leaves texts alone.
        long_text: what stays of a text over `max_length`: `truncate` its beginning,
            `head-tail` a first quarter of what stays from the beginning and the rest
            from the end (128 and 382 tokens of 510; Sun et al., 2019), `windows` all
            of it, in overlapping windows of `max_length` tokens, up to `max_windows`.
        window_overlap: tokens that two neighbouring windows share; `None` is a quarter
            of `max_length`. The last window ends with the text and may share more.
        max_windows: most windows a text; `None` is 8. What lies behind is cut.

    Raises:
        ValueError: `max_length` leaves no room for the tokens around a text, an input,
            a cleaning or a way with long texts is unknown, or windows cannot be so.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        input_names: Sequence[str] = INPUT_NAMES,
        clean: Cleaning | None = None,
        long_text: LongText = "truncate",
        window_overlap: int | None = None,
        max_windows: int | None = None,
    ) -> None:
        """Check the settings; see the class."""
        self.tokenizer = tokenizer
        self.max_length = _check_max_length(max_length, 2, "a text")
        self.input_names = _check_input_names(input_names)
        self.clean = clean
        self.long_text = long_text
        self.windows = resolve_windows(
            long_text, self.max_length, window_overlap, max_windows
        )
        self._steps = resolve_cleaning(clean)
        self._said_truncation = False

    def __call__(
        self, texts: Iterable[str], text_pairs: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Return padded arrays, ready for the encoder.

        The first call that has to cut texts says so on the logger `kbert`; `encode`
        tells it for every call.

        Args:
            texts: strings, as a list, tuple, array or column.
            text_pairs: the second text of each pair, or `None`.

        Returns:
            For each of `input_names` an int32 array of shape (num_texts, max_length),
            in windows of shape (num_texts, num_windows, max_length).

        Raises:
            ValueError: a text is missing or no string (the row is named), the numbers
                of texts differ, `max_length` is too short for pairs, or pairs shall be
                cut into windows.
        """
        encoded = self.encode(texts, text_pairs)
        truncation = encoded.truncation
        if truncation.num_truncated and not self._said_truncation:
            self._said_truncation = True
            _logger.warning(truncation.summary())
        return encoded.pad(self.max_length)

    def encode(
        self, texts: Iterable[str], text_pairs: Iterable[str] | None = None
    ) -> Encoded:
        """Return ragged rows, cut to what stays of a text, and not padded.

        Rows in windows are as long as what the windows cover; `pad` cuts them up.

        Args:
            texts: strings, as a list, tuple, array or column.
            text_pairs: the second text of each pair, or `None`.

        Returns:
            The rows, in the order of the texts.

        Raises:
            ValueError: as for calling the preprocessor.
        """
        first = _check_texts(texts, "texts")
        if text_pairs is None:
            return self._encode_columns([first])
        if self.windows is not None:
            raise ValueError(
                "long_text='windows' is for single texts, and text_pairs was given. "
                "Use long_text='truncate' or 'head-tail'."
            )
        second = _check_texts(text_pairs, "text_pairs")
        if len(first) != len(second):
            raise ValueError(
                f"texts has {len(first)} rows and text_pairs {len(second)}. "
                "Give every text its pair."
            )
        num_around = 2 + self.tokenizer.pair_separators
        _check_max_length(self.max_length, num_around, "a pair of texts")
        return self._encode_columns([first, second])

    def join_rows(
        self,
        texts: Sequence[np.ndarray],
        lengths: np.ndarray,
        full_lengths: np.ndarray | None = None,
    ) -> Encoded:
        """Put tokens of texts, or of pairs of texts, between those of the format.

        Args:
            texts: for the first text and perhaps the second int32 (num_tokens,), the
                tokens of all rows, row after row.
            lengths: int64 (num_texts, num_rows), tokens of each text of each row.
            full_lengths: int (num_rows,), tokens of each row before any was cut;
                `None`: none was.

        Returns:
            The rows.
        """
        tokenizer = self.tokenizer
        separators = tokenizer.pair_separators
        row_lengths = lengths.sum(axis=0) + 2 + separators * (len(texts) - 1)
        offsets = offsets_of(row_lengths)
        rows = np.full(int(offsets[-1]), tokenizer.end_id, np.int32)
        rows[offsets[:-1]] = tokenizer.start_id
        target = offsets[:-1] + 1
        for ids, length in zip(texts, lengths, strict=True):
            rows[ranges(target, length)] = ids
            target = target + length + separators
        has_segments = len(texts) == 2 and separators == 1
        second_starts = lengths[0] + 2 if has_segments else row_lengths
        full_lengths = row_lengths if full_lengths is None else full_lengths
        return Encoded(
            rows,
            offsets,
            second_starts.astype(np.int32),
            full_lengths.astype(np.int32),
            tokenizer.pad_id,
            self.input_names,
            self.windows,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the settings as JSON values, the tokenizer apart.

        Returns:
            The constructor's arguments by name.

        Raises:
            ValueError: a cleaning step is a function of the user's own.
        """
        return {
            "max_length": self.max_length,
            "input_names": list(self.input_names),
            "clean": describe_cleaning(self.clean),
            "long_text": self.long_text,
            "window_overlap": self.windows and self.windows.overlap,
            "max_windows": self.windows and self.windows.most,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], tokenizer: Tokenizer
    ) -> "Preprocessor":
        """Build the preprocessor that `get_config` described.

        Args:
            config: what `get_config` returned, or did before texts had windows.
            tokenizer: the encoder's own.

        Returns:
            The preprocessor.

        Raises:
            ValueError: a setting is missing, unknown or out of range.
        """
        expected = {"max_length", "input_names", "clean", *_LONG_TEXT_SETTINGS}
        if set(config) not in (expected, expected - set(_LONG_TEXT_SETTINGS)):
            odd = ", ".join(sorted(map(repr, set(config) ^ expected)))
            raise ValueError(
                f"the preprocessor's settings must be {', '.join(sorted(expected))}; "
                f"missing or unknown: {odd}. Was the file written by another version?"
            )
        return cls(tokenizer, **config)

    def _encode_columns(self, columns: list[list[str]]) -> Encoded:
        parts = [
            self._encode_chunk([column[rows] for column in columns], rows.start)
            for rows in _chunks(columns)
        ]
        return Encoded.concatenate(parts)

    def _encode_chunk(self, columns: list[list[str]], first_row: int) -> Encoded:
        if self._steps:
            columns = [
                _clean_column(column, self._steps, first_row) for column in columns
            ]
        ids, starts, lengths = self._tokenize(columns)
        num_around = 2 + self.tokenizer.pair_separators * (len(columns) - 1)
        longest = self.windows.coverage if self.windows else self.max_length
        kept = truncate(lengths, longest - num_around)
        choose = choose_head_tail if self.long_text == "head-tail" else choose_head
        chosen = map(choose, starts, lengths, kept)
        tokens = [ids[places] for places in chosen]
        return self.join_rows(tokens, kept, lengths.sum(axis=0) + num_around)

    def _tokenize(
        self, columns: list[list[str]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, and per column and row where they start and how many they are.

        A text that occurs again, as the paragraph of several questions does, is
        tokenized once.
        """
        texts = [text for column in columns for text in column]
        distinct = dict.fromkeys(texts)
        ids, offsets = self.tokenizer.tokenize(list(distinct))
        starts, lengths = offsets[:-1], np.diff(offsets)
        if len(distinct) < len(texts):
            place = dict(zip(distinct, range(len(distinct)), strict=True))
            where = np.fromiter(map(place.__getitem__, texts), np.int64, len(texts))
            starts, lengths = starts[where], lengths[where]
        shape = len(columns), len(columns[0])
        return ids, starts.reshape(shape), lengths.reshape(shape)


def _clean_column(
    texts: list[str], steps: tuple[Step, ...], first_row: int
) -> list[str]:
    for step in steps:
        texts = list(map(step, texts))
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"cleaning gave {text!r} for row {first_row + row}. "
                "Every step must return a string."
            )
    return texts


def _chunks(columns: list[list[str]]) -> list[slice]:
    """Cut rows into runs of about so many characters, without splitting a row."""
    num_rows = len(columns[0])
    sizes = sum(np.fromiter(map(len, column), np.int64) for column in columns) + 1
    chunk = np.cumsum(sizes) // _CHARACTERS_AT_ONCE
    cuts = (np.flatnonzero(np.diff(chunk)) + 1).tolist()
    return [
        slice(first, last)
        for first, last in zip([0, *cuts], [*cuts, num_rows], strict=True)
    ]


def _check_texts(texts: Any, name: str) -> list[str]:
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise ValueError(
            f"{name} must be a list of strings; received {_short(texts)}. "
            "Put a single text in a list."
        )
    for convert in ("to_pylist", "tolist"):  # Arrow; NumPy and pandas
        if hasattr(texts, convert):
            texts = getattr(texts, convert)()
            break
    rows = list(texts)
    for row, text in enumerate(rows):
        if not isinstance(text, str):
            _reject_text(row, text, name)
    return rows


def _reject_text(row: int, text: Any, name: str) -> None:
    is_nan = isinstance(text, float) and text != text
    if text is None or is_nan or type(text).__name__ in ("NAType", "NaTType"):
        raise ValueError(
            f'{name}[{row}] is missing ({text!r}). Drop the row or put "" in its place.'
        )
    raise ValueError(
        f"{name}[{row}] must be a string; received {_short(text)}. "
        "Convert it with str()."
    )


def _short(value: Any) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"{shown} ({type(value).__name__})"


def _check_max_length(max_length: Any, least: int, what: str) -> int:
    try:
        length = operator.index(max_length)
    except TypeError:
        length = 0
    if length < least:
        raise ValueError(
            f"max_length must be a whole number of at least {least}, the tokens around "
            f"{what}; received {max_length!r}."
        )
    return length


def _check_input_names(input_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(input_names)
    odd = [name for name in names if name not in INPUT_NAMES]
    if odd or "token_ids" not in names:
        raise ValueError(
            f"input_names must be token_ids and others of {', '.join(INPUT_NAMES)}; "
            f"received {input_names!r}."
        )
    return names
