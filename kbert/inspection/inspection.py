"""The result of an inspection, as people and programs read it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kbert.inspection.finding import Finding
from kbert.inspection.fixing import DROPPED, REPAIRED, Fixed, Origin, fix_file
from kbert.inspection.rendering import render_html, render_text
from kbert.text import Truncation


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Training rows ranked by how likely their label is wrong.

    Args:
        rows: int64, 0-based rows of the training source, every one that was compared;
            those that are probably wrong first, and the least likely label first.
        quality: float64, probability of each row's label by a classifier that has not
            seen the row.
        num_wrong: how many of the first are probably wrong: the finding
            `label_errors` lists them.
    """

    rows: np.ndarray
    quality: np.ndarray
    num_wrong: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Inspection:
    """What is wrong with a data set.

    Args:
        source: what was read, in words.
        num_rows: rows by part.
        label_counts: rows by part and class or label; of tags, words.
        findings: the worst first.
        notes: what was not looked at, or not wholly, and why.
        guesses: what was guessed in reading the source, a sentence each.
        truncation: what the maximum length cuts off; `None` without a tokenizer.
        max_length: that length, in tokens.
        languages: language (ISO 639) to rows where it was clear, the main one first.
        label_errors: the ranking, where labels were checked.
    """

    source: str
    num_rows: Mapping[str, int]
    label_counts: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()
    truncation: Truncation | None = None
    max_length: int | None = None
    languages: Mapping[str, int] = field(default_factory=dict)
    label_errors: LabelErrors | None = field(default=None, repr=False)
    _origin: Origin | None = field(default=None, repr=False)

    def __getitem__(self, kind: str) -> Finding:
        """Return the finding of a kind.

        Args:
            kind: such as `duplicates`; see `kbert.inspection.KINDS`.

        Returns:
            The finding.

        Raises:
            KeyError: nothing of this kind was found.
        """
        for finding in self.findings:
            if finding.kind == kind:
                return finding
        raise KeyError(kind)

    def __contains__(self, kind: object) -> bool:
        """Whether something of a kind was found."""
        return any(finding.kind == kind for finding in self.findings)

    def summary(self) -> list[str]:
        """Return a sentence for each finding, and what was not looked at.

        Returns:
            Sentences, the worst first.
        """
        return [*(finding.sentence for finding in self.findings), *self.notes]

    def to_json(self, max_rows: int | None = None) -> dict[str, Any]:
        """Return all of it as JSON values.

        Args:
            max_rows: most row numbers of a part and finding; `None`: all.

        Returns:
            The fields by name.
        """
        errors = self.label_errors
        return {
            "source": self.source,
            "num_rows": dict(self.num_rows),
            "label_counts": {k: dict(v) for k, v in self.label_counts.items()},
            "findings": [finding.to_json(max_rows) for finding in self.findings],
            "notes": list(self.notes),
            "guesses": list(self.guesses),
            "truncation": self.truncation and self.truncation.to_json(),
            "max_length": self.max_length,
            "languages": dict(self.languages),
            "label_errors": errors
            and {
                "rows": errors.rows[:max_rows].tolist(),
                "quality": errors.quality[:max_rows].tolist(),
                "num_wrong": errors.num_wrong,
            },
        }

    def fix(
        self,
        path: str | os.PathLike[str],
        *,
        drop: Collection[str] = DROPPED,
        repair: Collection[str] = REPAIRED,
        overwrite: bool = False,
    ) -> Fixed:
        """Write the training file without what is wrong with it.

        The output has the input's format; rows that are kept and not repaired are
        copied byte by byte (of Parquet: value by value). Beside it, `PATH.log.csv` has
        a line for every change: `row` (0-based, of the input), `column` (empty: the
        whole row), `before`, `after` and `why`. Undone from the last to the first they
        give the input's rows back. The input is never touched.

        Texts are repaired first, and what then repeats another row or a later part is
        found anew. Validation and test files are not changed: inspect and fix each.

        Args:
            path: file to write, of the input's format.
            drop: kinds of rows to leave out, of `nulls`, `blanks`, `duplicates` (all
                but the first), `conflicts`, `leaks`, `near_duplicates`, `near_leaks`,
                `unknown_tokens`, `garbled`, `languages` and `label_errors`.
            repair: `mojibake`, `odd_characters`, both or none.
            overwrite: whether an output that exists is replaced.

        Returns:
            What was written.

        Raises:
            FileExistsError: an output exists.
            FileNotFoundError: the output's folder does not exist.
            ValueError: the source is no file, `path` is one of the inputs or of another
                format, a kind is unknown, or no row would be left.
            OSError: the output cannot be written.
        """
        found = {
            finding.kind: finding.rows.get("train", np.empty(0, np.int64))
            for finding in self.findings
        }
        return fix_file(
            self._origin,
            path,
            found=found,
            drop=drop,
            repair=repair,
            overwrite=overwrite,
        )

    def __str__(self) -> str:
        """Return all of it for a terminal of 80 columns."""
        return render_text(self)

    def _repr_html_(self) -> str:
        """Return all of it for a notebook."""
        return render_html(self)
