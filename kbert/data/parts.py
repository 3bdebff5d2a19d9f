"""The steps between reading sources and handing out splits.

Each step takes the parts and returns new ones: label, inspect, limit, cut, find leaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from kbert.data.cut import cut_rows, sample_rows
from kbert.data.findings import (
    Finding,
    Findings,
    describe_rows,
    find_rows,
    number_texts,
)
from kbert.data.labels import find_classes, note_classes
from kbert.data.sources import Source
from kbert.data.values import (
    Kind,
    check_values,
    find_names,
    read_scores,
    read_several,
)


@dataclass(frozen=True)
class Part:
    """Rows chosen from a source.

    Args:
        source: the source, of n rows.
        rows: int64, positions of the chosen rows in the source.
        labels: int32 (n,), class id of every row of the source, -1 for null; `None`
            if unlabelled.
        texts: int64 (n,), the same number for equal texts, in all parts.
        values: float32 (n, ...), where labels are no classes: scores, or several a
            row; `labels` then tell equal ones apart from others.
    """

    source: Source
    rows: np.ndarray
    labels: np.ndarray | None
    texts: np.ndarray
    values: np.ndarray | None = None

    @property
    def row_values(self) -> np.ndarray | None:
        """What the chosen rows are labelled with: class ids, or values."""
        return self.row_labels if self.values is None else self.values[self.rows]

    @property
    def row_labels(self) -> np.ndarray | None:
        """Class ids of the chosen rows."""
        return None if self.labels is None else self.labels[self.rows]


def describe_labels(source: Source) -> str:
    """Name the label column for a message."""
    return f"column {source.label!r} of {source.name}"


def check_pairs(sources: dict[str, Source]) -> None:
    """Refuse pairs in one part and single texts in another, as may be in memory.

    Args:
        sources: part name to source.

    Raises:
        ValueError: a part differs from train.
    """
    train = sources["train"]
    for part, read in sources.items():
        if (read.text_pair is None) != (train.text_pair is None):
            raise ValueError(
                f"train and {part} must both have second texts, or neither; {part} "
                f"({read.name}) has {'none' if read.text_pair is None else 'some'}."
            )


def label_parts(
    sources: dict[str, Source],
    label_names: Sequence[str] | None,
    kind: Kind = "classes",
) -> tuple[tuple[str, ...], dict[str, Part]]:
    """Find the classes of train and give every row of every part its class id."""
    if kind != "classes":
        return _value_parts(sources, label_names, kind)
    train = sources["train"]
    given = train.class_names if label_names is None else label_names
    classes = find_classes(train.labels, given, describe_labels(train))
    parts = {}
    texts = number_texts(list(sources.values()))
    for (part, source), text in zip(sources.items(), texts, strict=True):
        labels = None
        if source.labels is not None:
            labels = classes.encode(source.labels, describe_labels(source))
        parts[part] = Part(source, np.arange(len(source)), labels, text)
    return classes.names, parts


def _value_parts(
    sources: dict[str, Source], label_names: Sequence[str] | None, kind: Kind
) -> tuple[tuple[str, ...], dict[str, Part]]:
    train = sources["train"]
    names: tuple[str, ...] = ()
    if kind == "several":
        names = find_names(train, label_names, describe_labels(train))
    parts = {}
    texts = number_texts(list(sources.values()))
    for (part, source), text in zip(sources.items(), texts, strict=True):
        labels = values = None
        if source.labels is not None:
            labels, values = read_values(source, names, kind)
        parts[part] = Part(source, np.arange(len(source)), labels, text, values)
    return names, parts


def read_values(
    source: Source, names: Sequence[str], kind: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Read the labels of a source that are no classes.

    Args:
        source: labelled.
        names: of the labels, where a row has several.
        kind: `several` or `scores`.

    Returns:
        As `read_several` and `read_scores`.
    """
    where = describe_labels(source)
    if kind == "several":
        return read_several(source.labels, names, where)
    return read_scores(source.labels, where)


def note_sources(
    sources: dict[str, Source], train: Part, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Say what was guessed in reading, and what is odd about the classes of train."""
    notes = [note for source in sources.values() for note in source.notes]
    if names and train.labels is not None:
        notes += note_classes(train.labels, names, describe_labels(train.source))
    return tuple(notes)


def inspect_parts(
    parts: dict[str, Part], drop: tuple[str, ...]
) -> tuple[Findings, dict[str, Part]]:
    """Find what is wrong within each source, and leave out what is to be dropped."""
    total, kept = Findings(), {}
    for name, part in parts.items():
        found = find_rows(part.source, part.texts, part.labels)
        # Predictions must line up with an unlabelled file, so it keeps every row.
        out = [kind for kind in found if kind in drop and part.labels is not None]
        for kind, mask in found.items():
            rows = np.flatnonzero(mask)
            finding = describe_rows(part.source, rows, dropped=kind in out)
            total += Findings(**{kind: finding})
        if out:
            part = _leave_out(part, np.any([found[kind] for kind in out], axis=0), drop)
        if part.row_labels is not None:
            fix = 'fill it, or remove the row (in Python drop=("nulls",) does)'
            where = describe_labels(part.source)
            check_no_null(part.row_labels, part.rows, where, fix)
        kept[name] = part
    return total, kept


def _leave_out(part: Part, mask: np.ndarray, drop: tuple[str, ...]) -> Part:
    """Drop the rows where `mask`, one value for each row chosen, is true."""
    if mask.all():
        raise ValueError(f"drop={drop} leaves no row of {part.source.name}; drop less.")
    return replace(part, rows=part.rows[~mask])


def check_no_null(labels: np.ndarray, rows: np.ndarray, where: str, fix: str) -> None:
    """Refuse rows without a label."""
    nulls = np.flatnonzero(labels < 0)
    if len(nulls):
        more = f" ({len(nulls):,} rows in all)" if len(nulls) > 1 else ""
        raise ValueError(f"{where} is null in row {rows[nulls[0]]:,}{more}; {fix}.")


def limit_part(part: Part, limit: int, seed: int, stratify: bool) -> Part:
    """Keep a seeded sample of at most `limit` rows."""
    labels = part.row_labels if stratify else None
    chosen = sample_rows(labels, len(part.rows), limit, seed)
    return replace(part, rows=part.rows[chosen])


def check_classes(train: Part, names: tuple[str, ...], limit: int | None) -> None:
    """Refuse training data of one class, or of one value."""
    if train.values is not None:
        values = train.values[train.rows]
        return check_values(values, names, describe_labels(train.source))
    present = np.unique(np.asarray(train.row_labels))
    if len(present) < 2:
        because, advice = "", "add rows of another"
        if limit is not None:
            because, advice = (
                f" that limit={limit} leaves",
                "raise the limit or " + advice,
            )
        raise ValueError(
            f"{describe_labels(train.source)} has one class only, "
            f"{names[present[0]]!r}, among the rows{because}; a classifier needs two: "
            f"{advice}."
        )


def cut_train(
    parts: dict[str, Part],
    shares: dict[str, Fraction],
    names: tuple[str, ...],
    seed: int,
    stratify: bool,
) -> dict[str, Part]:
    """Cut the shares that were asked for from train."""
    if not shares:
        return parts
    train = parts["train"]
    labels = np.asarray(train.row_labels)
    cut = cut_rows(train.rows, labels, names, shares, seed=seed, stratify=stratify)
    return parts | {name: replace(train, rows=rows) for name, rows in cut.items()}


def find_leaks(
    parts: dict[str, Part], drop: tuple[str, ...]
) -> tuple[Finding, dict[str, Part]]:
    """Find the rows whose text a later part holds too; dropping spares later parts."""
    total, kept = Finding(), dict(parts)
    chosen = {name: part.texts[part.rows] for name, part in parts.items()}
    for name, later in (("train", ("validation", "test")), ("validation", ("test",))):
        held = [chosen[other] for other in later if other in parts]
        if name not in parts or not held:
            continue
        leaking = (chosen[name] >= 0) & np.isin(chosen[name], np.concatenate(held))
        dropped = "leaks" in drop
        rows = parts[name].rows[leaking]
        total += describe_rows(parts[name].source, rows, dropped=dropped)
        if dropped:
            kept[name] = _leave_out(parts[name], leaking, drop)
    return total, kept


def check_seen(parts: dict[str, Part], names: tuple[str, ...]) -> None:
    """Refuse a class that train lacks; what has values has been checked."""
    if parts["train"].values is not None:
        return check_classes(parts["train"], names, None)
    seen = np.isin(np.arange(len(names)), np.asarray(parts["train"].row_labels))
    for name, part in parts.items():
        if part.row_labels is None:
            continue
        unseen = np.flatnonzero(~seen[part.row_labels])
        if len(unseen):
            raise ValueError(
                f"class {names[part.row_labels[unseen[0]]]!r} is in {name} "
                f"({part.source.name} row {part.rows[unseen[0]]:,}) but not in train; "
                "use stratify=True (no --no-stratify), more rows of it, or none."
            )
