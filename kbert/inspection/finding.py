"""What was found in a data set: how bad it is, in which rows, and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from kbert.inspection.rows import Rows

Severity = Literal["error", "warning", "note"]
NUM_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class _Kind:
    """What is said of every finding of a kind."""

    severity: Severity
    words: str
    advice: str


# The worst first: this is the order that findings are listed in.
KINDS = {
    "nulls": _Kind(
        "error",
        "have no text or no label",
        "Fill them, or leave them out (--fix does).",
    ),
    "leaks": _Kind(
        "error",
        "have a text that a later part (validation, test) holds too",
        "Leave them out of the earlier part (--fix does), or the figures measured on "
        "the later one are too good.",
    ),
    "one_class": _Kind(
        "error",
        "have the same label, which is the only one",
        "Add rows of another class, or name another label column.",
    ),
    "unique_labels": _Kind(
        "error",
        "have a label that no other row has",
        "Name another label column: labels that hardly ever recur are no classes.",
    ),
    "unseen_classes": _Kind(
        "error",
        "have a label that no training row has",
        "Add training rows of these classes, or correct the labels.",
    ),
    "bad_tags": _Kind(
        "error",
        "have a tag that is neither O nor one with B-, I-, E- or S-",
        "Correct it: training stops at the first of them.",
    ),
    "blank_words": _Kind(
        "error",
        "have a word of nothing but white space",
        "Write the word, or leave it and its tag out: training stops at the first.",
    ),
    "misplaced_answers": _Kind(
        "error",
        "have an answer that is not where it should be in its text",
        "Write it as it stands there, or correct its start: training stops at the "
        "first of them.",
    ),
    "blanks": _Kind(
        "warning",
        "have a text of nothing but white space",
        "Leave them out (--fix does).",
    ),
    "conflicts": _Kind(
        "warning",
        "have a text that occurs under two or more labels",
        "Decide on one label, or leave them out.",
    ),
    "label_errors": _Kind(
        "warning",
        "probably have a wrong label",
        "Read them from the top, where the surest are, and correct what is wrong.",
    ),
    "label_spelling": _Kind(
        "warning",
        "have a label that differs from another only in case, spaces or punctuation",
        "Write each class in one way.",
    ),
    "near_leaks": _Kind(
        "warning",
        "have nearly the text of a row of a later part (validation, test)",
        "Look at them; leave them out of the earlier part if they are the same thing.",
    ),
    "loose_inside": _Kind(
        "warning",
        "have a word inside an entity (I-) that no word before it begins (B-)",
        "Correct the tag; it is read as the beginning.",
    ),
    "constant_labels": _Kind(
        "warning",
        "do not differ in a label, which none or all of them have",
        "Add rows that differ in it, or leave the label out.",
    ),
    "few_rows": _Kind(
        "warning",
        "belong to a class with too few rows to learn or to measure",
        "Add rows, merge classes, or leave these out.",
    ),
    "duplicates": _Kind(
        "warning",
        "repeat the text and label of an earlier row",
        "Leave them out (--fix does); they count twice in training and in figures.",
    ),
    "mojibake": _Kind(
        "warning",
        "hold characters that were decoded wrongly (mojibake)",
        "Repair them (--fix does), or read the file in its own encoding.",
    ),
    "garbled": _Kind(
        "warning",
        "hold characters that look wrongly decoded, and cannot be repaired",
        "Get these texts again from where they came from.",
    ),
    "unknown_tokens": _Kind(
        "warning",
        "are to the preset half or more unknown tokens",
        "Choose a preset of their language or script, or leave them out.",
    ),
    "truncated": _Kind(
        "warning",
        "are longer than the encoder reads, and lose their end",
        "Raise --max-length where the encoder allows it, or use --long-text.",
    ),
    "imbalance": _Kind(
        "note",
        "belong to the largest class, ten times the smallest or more",
        "Train with --class-weight balanced, and look at F1, not at accuracy.",
    ),
    "no_answer": _Kind(
        "note",
        "have no answer",
        "Look at them; a model learns from them to give none.",
    ),
    "no_labels": _Kind(
        "note",
        "have none of the labels",
        "Look at them; it is right where no label fits.",
    ),
    "windowed": _Kind(
        "note",
        "are longer than the encoder reads at once, and read in several windows",
        "Nothing is lost; of tagged words look whether a blank line lacks.",
    ),
    "languages": _Kind(
        "note",
        "are in another language than most",
        "Choose a multilingual preset, or leave them out.",
    ),
    "near_duplicates": _Kind(
        "note",
        "have nearly the text of an earlier row",
        "Look at them; copies with small changes count nearly twice.",
    ),
    "odd_characters": _Kind(
        "note",
        "hold invisible or control characters (NUL, direction marks and the like)",
        "Strip them (--fix does).",
    ),
}


@dataclass(frozen=True)
class Example:
    """A row that was found.

    Args:
        part: name of its part, such as `train`.
        row: 0-based row in the part's source, its header not counted.
        text: the beginning of its text.
        detail: what is to be said of this row, such as what it repeats.
    """

    part: str
    row: int
    text: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Finding:
    """Rows with something wrong about them.

    Args:
        kind: a key of `KINDS`.
        count: number of rows.
        share: of the rows that were looked at, in [0, 1].
        rows: part name to its rows, int64, 0-based in the part's source with its
            header not counted, so that they fit pandas' `iloc`; in rising order, but
            for `label_errors` and `truncated`, where the worst come first.
        examples: the first of them.
        remark: a further sentence, or nothing.
    """

    kind: str
    count: int
    share: float
    rows: Mapping[str, np.ndarray] = field(repr=False)
    examples: tuple[Example, ...] = field(repr=False, default=())
    remark: str = ""

    @property
    def severity(self) -> Severity:
        """`error`, `warning` or `note`."""
        return KINDS[self.kind].severity

    @property
    def sentence(self) -> str:
        """What is wrong, with its count and share."""
        verb = KINDS[self.kind].words if self.count > 1 else say_of_one(self.kind)
        rows = "row" if self.count == 1 else "rows"
        share = f"{self.share:.1%}" if self.share >= 0.0005 else "under 0.1%"
        sentence = f"{self.count:,} {rows} ({share}) {verb}."
        return f"{sentence} {self.remark}".strip()

    @property
    def advice(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].advice

    def to_json(self, max_rows: int | None = None) -> dict[str, Any]:
        """Return all of it as JSON values.

        Args:
            max_rows: most row numbers of a part; `None`: all.

        Returns:
            The fields by name, with severity, sentence and advice.
        """
        return {
            "kind": self.kind,
            "severity": self.severity,
            "sentence": self.sentence,
            "advice": self.advice,
            "count": self.count,
            "share": self.share,
            "rows": {p: rows[:max_rows].tolist() for p, rows in self.rows.items()},
            "examples": [vars(example) for example in self.examples],
        }


def say_of_one(kind: str) -> str:
    """Say what is wrong with one row.

    Args:
        kind: a key of `KINDS`.

    Returns:
        Words such as `repeats the text and label of an earlier row`.
    """
    return _singular(KINDS[kind].words)


def _singular(verb: str) -> str:
    first, _, rest = verb.partition(" ")
    if first == "probably":
        return f"probably {_singular(rest)}"
    forms = {"have": "has", "are": "is"}
    return f"{forms.get(first, first + 's')} {rest}"


def describe(
    rows: Rows,
    kind: str,
    positions: np.ndarray,
    details: Mapping[int, str] | Sequence[str] = (),
    *,
    among: int | None = None,
    remark: str = "",
) -> list[Finding]:
    """Make a finding of rows, or none where there are none.

    Args:
        rows: all rows.
        kind: a key of `KINDS`.
        positions: int64, of the rows found.
        details: what is to be said of each, by position or in their order.
        among: rows that were looked at; `None`: all.
        remark: a further sentence.

    Returns:
        A list of one finding, or of none.
    """
    if not len(positions):
        return []
    if not isinstance(details, Mapping):
        details = dict(zip(positions.tolist(), details, strict=False))
    examples = []
    for position in positions[:NUM_EXAMPLES].tolist():
        part, row = rows.locate(position)
        text = " | ".join(rows.texts_of(position))[:_EXAMPLE_CHARACTERS]
        examples.append(Example(part, row, text, details.get(position, "")))
    return [
        Finding(
            kind,
            len(positions),
            len(positions) / max(1, len(rows) if among is None else among),
            rows.by_part(positions),
            tuple(examples),
            remark,
        )
    ]
