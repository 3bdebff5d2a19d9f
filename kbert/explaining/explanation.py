"""An explanation of one prediction, for notebooks, terminals and programs."""

import html
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kbert.explaining.marking import (
    Segment,
    cut_segments,
    find_strongest,
    make_printable,
    segment_text,
    write_signed,
)

_NUM_STRONGEST = 5
_NUM_CHARACTERS = 5_000
_BOLD_BLUE, _BOLD_YELLOW, _PLAIN = "\x1b[1;34m", "\x1b[1;33m", "\x1b[0m"
# Readable on light and dark pages: the text keeps the page's own colour.
_RGB = {1: "35,89,143", -1: "198,93,22"}


@dataclass(frozen=True)
class Piece:
    """A token or a word, and what it adds.

    Args:
        text: as it stands in the text.
        attribution: what it adds to the value, in the value's unit.
        part: `text` or `text_pair`.
        start: its first character in that part.
        end: one past its last.
    """

    text: str
    attribution: float
    part: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How much each word moved a prediction.

    The attributions of all tokens sum to `value - baseline_value`, but for `gap`.

    Args:
        texts: the text and, of a pair, the second one, as the encoder reads them.
        target: the label that is explained, or `score`.
        predicted: the label that the model predicts, or `None` for a score.
        probability: that the model gives the target; `None` for a score.
        quantity: what is explained: `log odds` of the target, or `score`.
        value: of that quantity, for the text.
        baseline_value: the same with every token of the texts replaced.
        baseline: what by: `pad` or `mask`.
        tokens: as the vocabulary cuts the texts.
        words: tokens of a word summed up.
        num_steps: points between baseline and text where gradients were taken.
        gap: how far the sum is off, as a share of `value - baseline_value`.
        converged: whether `gap` is at most 5 %.
        num_left_out: tokens that were beyond the model's length; nobody read them.
    """

    texts: tuple[str, ...]
    target: str
    predicted: str | None
    probability: float | None
    quantity: str
    value: float
    baseline_value: float
    baseline: str
    tokens: tuple[Piece, ...]
    words: tuple[Piece, ...]
    num_steps: int
    gap: float
    converged: bool
    num_left_out: int = 0

    @property
    def total(self) -> float:
        """Sum of all attributions."""
        return sum(token.attribution for token in self.tokens)

    @property
    def headline(self) -> str:
        """What was explained, in a sentence."""
        shift = self.value - self.baseline_value
        start = f"{self.quantity} of {self.target!r}"
        if self.probability is None:
            start = self.quantity
        else:
            start += f" (probability {self.probability:.3f}"
            other = self.predicted not in (None, self.target)
            start += f"; predicted is {self.predicted!r})" if other else ")"
        return (
            f"{start}: {write_signed(self.value)}, of which the words add "
            f"{write_signed(shift)}."
        )

    @property
    def notes(self) -> list[str]:
        """Sentences on what limits the explanation."""
        notes = []
        if not self.converged:
            notes.append(
                f"The attributions sum to {write_signed(self.total)}, which is "
                f"{self.gap:.0%} off after {self.num_steps:,} steps: read them with "
                "care."
            )
        if self.num_left_out:
            notes.append(
                f"The model's length leaves out {self.num_left_out:,} tokens, which "
                "have no part in the prediction."
            )
        return notes

    def segments(self) -> list[list[Segment]]:
        """Cut each text into words and what stands between them.

        Returns:
            For each of `texts` its segments, in order; joined they are the text.
        """
        words = [asdict(word) for word in self.words]
        return [
            segment_text(text, part, words)
            for part, text in zip(("text", "text_pair"), self.texts, strict=False)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values.

        Returns:
            The fields by name; pieces as dicts.
        """
        fields = asdict(self)
        return fields | {name: list(fields[name]) for name in ("texts",)}

    def __str__(self) -> str:
        """Return a few lines: headline, the marked text, the strongest words.

        Words that add to the target are marked `[+word]`, others `[-word]`, and on a
        terminal they are blue and yellow as well.
        """
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        lines = [make_printable(self.headline)]
        for segments in self.segments():
            shown = cut_segments(segments, _NUM_CHARACTERS)
            lines.append("  " + "".join(_mark(one, colours) for one in shown))
        for name, found in zip(("for", "against"), self._strongest(), strict=True):
            words = ", ".join(
                f"{make_printable(w.text)} {write_signed(w.attribution)}" for w in found
            )
            lines.append(f"{name + ':':<8} {words or '-'}")
        return "\n".join([*lines, *self.notes])

    def _strongest(self) -> tuple[Sequence[Piece], Sequence[Piece]]:
        return (
            find_strongest(self.words, 1, _NUM_STRONGEST),
            find_strongest(self.words, -1, _NUM_STRONGEST),
        )

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{_escape(self.headline)}</b></p>"]
        for segments in self.segments():
            shown = cut_segments(segments, _NUM_CHARACTERS)
            text = "".join(_mark_html(one) for one in shown)
            parts.append(f'<p dir="auto" style="line-height:1.9">{text}</p>')
        for name, found in zip(("For", "Against"), self._strongest(), strict=True):
            words = ", ".join(
                f"<bdi>{_escape(word.text)}</bdi> {write_signed(word.attribution)}"
                for word in found
            )
            parts.append(f"<p>{name}: {words or '–'}</p>")
        parts += [f"<p>{_escape(note)}</p>" for note in self.notes]
        return "<div>" + "".join(parts) + "</div>"


def _mark(segment: Segment, colours: bool) -> str:
    text = make_printable(segment.text)
    if not segment.is_marked:
        return text
    marked = f"[{'+' if segment.share > 0 else '-'}{text}]"
    if not colours:
        return marked
    return f"{_BOLD_BLUE if segment.share > 0 else _BOLD_YELLOW}{marked}{_PLAIN}"


def _mark_html(segment: Segment) -> str:
    text = _escape(segment.text)
    if segment.attribution is None:
        return text
    sign = 1 if segment.share > 0 else -1
    line = f";border-bottom:2px {'solid' if sign > 0 else 'dashed'}"
    style = f"background:rgba({_RGB[sign]},{0.45 * abs(segment.share):.2f})"
    title = write_signed(segment.attribution)
    style += line if segment.is_marked else ""
    return f'<bdi style="{style}" title="{title}">{text}</bdi>'


def _escape(text: str) -> str:
    return html.escape(make_printable(text))
