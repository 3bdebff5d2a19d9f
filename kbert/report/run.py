"""Everything that a report shows about a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.report.environment import describe_environment
from kbert.report.plain import to_plain
from kbert.report.trust import Trust

if TYPE_CHECKING:  # both bring pyarrow or tokenizers, which a report does without
    from kbert.data import Splits
    from kbert.encoded import Truncation

SCHEMA = 1
# For plots only: they would make report.json large, and predictions remake them.
_NOT_WRITTEN = {
    "labels",
    "probabilities",
    "lengths",
    "headlines",
    "pictures",
    "checks",
    "trust",
}


@dataclass(kw_only=True)
class Run:
    """A run, as its report shows it.

    Figures that are not known are left out or `None`.

    Args:
        recipe: name, such as `tweets`.
        title: headline.
        question: what the run was to find out.
        command: what repeats it.
        preset: `name`, `source`, `num_parameters`.
        data: as `describe_data` returns it.
        device: as `describe_device` returns it, perhaps with `precision`.
        seed: of everything random.
        config: every setting by name.
        history: a dict per epoch: `epoch` (from 1), `loss`, `val_loss`, ... `seconds`.
        metrics: as `compute_metrics` returns them.
        documented: a row per documented figure: `name`, `documented` (number or
            text), `measured` (number, text or `None`), `comparable` (whether data,
            preset and settings are those of the document) and perhaps `note`.
        deviations: sentences on what differs from the document on purpose.
        notices: sentences on what stands in for what was asked (a fallback preset or
            sample data); they head the report.
        seconds: durations by what took them, such as `train` and `total`.
        label_names: class names in id order.
        mistakes: as `find_mistakes` returns them.
        headlines: figures that sum the run up; `()`: those of a classifier.
        pictures: plots of the predictions, of `reliability`, `precision_recall` and
            `scores`.
        labels: int (n,), labels that `metrics` were measured on; for the plots.
        probabilities: float (n, num_classes), of the same rows; for the plots.
        lengths: int (m,), tokens of the texts before truncation; for the histogram.
        split: name of the part that was measured.
        kept_epoch: epoch whose weights were kept, from 1; `None`: unknown.
        kept_reason: why it was kept though another has a better figure, or nothing.
        checks: what is wrong with the data, a mapping a finding: `kind`, `count`,
            `rows` (numbers, or mappings with `row` and `source`) and `advice`, perhaps
            `sentence` and `examples` (mappings with `part`, `row`, `text` and
            `detail`); they come first in the report. `None`: not looked for.
        trust: as `assess` returns it; `None`: not measured.
        environment: as `describe_environment` returns it.
        utc: when the run ended, ISO 8601.
    """

    recipe: str
    title: str
    question: str
    command: str
    preset: Mapping[str, Any]
    data: Mapping[str, Any]
    device: Mapping[str, Any]
    seed: int
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any]
    documented: Sequence[Mapping[str, Any]] = ()
    deviations: Sequence[str] = ()
    notices: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    label_names: Sequence[str] = ()
    mistakes: Sequence[Mapping[str, Any]] = ()
    headlines: Sequence[str] = ()
    pictures: Sequence[str] = ("reliability", "precision_recall")
    labels: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    lengths: np.ndarray | None = None
    split: str = "validation"
    kept_epoch: int | None = None
    kept_reason: str = ""
    checks: Sequence[Mapping[str, Any]] | None = None
    trust: Trust | None = None
    environment: Mapping[str, Any] = field(default_factory=describe_environment)
    utc: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds")
    )

    @property
    def is_comparable(self) -> bool:
        """Whether any documented figure compares with this run's."""
        return any(row.get("comparable") for row in self.documented)

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain lists and dicts, without the arrays for plots.

        Returns:
            The fields by name, and `schema`; `checks` and `trust` where there are any.

        Raises:
            ValueError: a field holds something that JSON has no form for.
        """
        shown = {k: v for k, v in vars(self).items() if k not in _NOT_WRITTEN}
        trust = self.trust.to_json() if self.trust else None
        for name, value in (("checks", self.checks), ("trust", trust)):
            if value is not None:
                shown[name] = value
        return {"schema": SCHEMA, **to_plain(shown, f"the {self.recipe} run")}


def describe_data(
    splits: "Splits",
    truncation: "Truncation | None" = None,
    *,
    max_length: int | None,
) -> dict[str, Any]:
    """Describe the data of a run.

    Args:
        splits: what was read.
        truncation: what the maximum length cut off, or would have.
        max_length: tokens a text may have; `None`: any number.

    Returns:
        `source`, `digest`, `rows` (by split), `label_counts` (by split and label
        name), `longest` (tokens, before truncation), `max_length`, `truncated`
        (texts), `leaks` (rows), `truncation`, `findings` and `sentences` (what was
        guessed, the findings and the truncation in words).
    """
    findings = splits.findings
    return {
        "source": splits.source,
        "digest": splits.digest,
        "rows": {name: len(part) for name, part in splits.parts.items()},
        "label_counts": {
            name: _count_labels(part.labels, splits.label_names)
            for name, part in splits.parts.items()
            if part.labels is not None and splits.label_names
        },
        "longest": truncation and truncation.longest,
        "max_length": max_length,
        "truncated": truncation and truncation.num_truncated,
        "leaks": findings.leaks.count,
        "truncation": truncation and truncation.to_json(),
        "findings": findings.to_json(),
        "sentences": [
            *getattr(splits, "notes", ()),  # splits of other tasks may have none
            *findings.summary(),
            *([truncation.summary()] if truncation else []),
        ],
    }


def _count_labels(labels: Any, label_names: Sequence[str]) -> dict[str, int]:
    if isinstance(labels, list):  # those of the words of each text
        labels = np.concatenate(labels)
    if labels.ndim == 2:  # several labels a row
        counts = labels.sum(axis=0)
    else:
        counts = np.bincount(labels, minlength=len(label_names))
    return {n: int(c) for n, c in zip(label_names, counts, strict=True)}
