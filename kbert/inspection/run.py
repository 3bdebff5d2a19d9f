"""Look at a data set from every side, before or without training."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kbert.data import Splits
from kbert.data.files import Reading
from kbert.inspection.checks import (
    check_characters,
    check_languages,
    check_lengths,
    check_near,
    check_repeats,
)
from kbert.inspection.finding import KINDS, Finding, describe
from kbert.inspection.fixing import Origin
from kbert.inspection.inspection import Inspection, LabelErrors
from kbert.inspection.near import NEAR
from kbert.inspection.parts import find_label_faults, to_rows
from kbert.inspection.reading import (
    find_reading,
    find_task_name,
    read_rows,
    read_words,
)
from kbert.inspection.rows import Rows
from kbert.tasks.answer_data import ANSWER_LENGTH, Questions
from kbert.tasks.tag_data import Sentences
from kbert.tasks.task import LAYOUT
from kbert.text import Preprocessor

if TYPE_CHECKING:
    from kbert.presets import Preset


def inspect(
    source: Any,
    *,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    text_pair: str | None = None,
    task: str | None = None,
    unlabelled: bool = False,
    validation: Any = None,
    test: Any = None,
    preset: "str | os.PathLike[str] | Preset | None" = None,
    check_labels: bool = False,
    max_length: int | None = None,
    near_duplicates: float | None = NEAR,
    languages: bool = True,
    seed: int = 42,
    label_names: Sequence[str] | None = None,
    encoding: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    separator: str | None = None,
) -> Inspection:
    """Find what is wrong with a data set; nothing is trained or changed.

    Looked for, the worst first: nulls, texts that a later part holds too (leaks), a
    single class, labels that are no classes, classes that training lacks; blanks, one
    text under two labels, labels that are probably wrong (`check_labels`), one class
    written in two ways, near leaks, classes of fewer than ten rows, exact duplicates,
    mojibake, texts of which the preset knows less than half, what truncation cuts off;
    imbalance, other languages, near duplicates and invisible characters. Limits, where
    there are any, are in `notes` of the result.

    Of several labels a row: those that none or all rows have, few, or not in training,
    and rows without any. Of tagged words (`tag`): tags that are none, an I- without a
    B-, blank words and empty sentences. Of questions (`answer`): answers that are not
    in their text, and none. Rows are then sentences, or questions.

    Args:
        source: as in `kbert.load_splits`: a file, a folder with `train.csv`, a
            DataFrame and so on; or what the tasks `tag` and `answer` read.
        text: column of the texts; `None`: the one that can only be it.
        label: column of the labels; `None`: likewise, if there is one. Labels that are
            no classes, such as scores, are compared by their values. Several columns
            of 0 and 1, or one of lists, are several labels a row.
        text_pair: column of the second texts of pairs; `None`: found with `text`.
        task: what the data are for, as `kbert.train` takes it; `None`: found from
            their form and labels, and said.
        unlabelled: whether there is no column of labels.
        validation: a source of its own; `None`: the folder's, if it has one.
        test: the same; it may be unlabelled.
        preset: whose tokenizer counts tokens, and whose encoder `check_labels` uses;
            `None`: the embedded one if it is installed.
        check_labels: rank training rows by how likely their label is wrong, which
            takes an encoder's pass over the texts.
        max_length: tokens that will be read of a text; `None`: as many as the encoder
            reads.
        near_duplicates: least Jaccard similarity of near duplicates, in (0, 1]; `None`
            looks for none.
        languages: whether to tell the texts' languages.
        seed: of hash functions, samples and folds.
        label_names: class names in id order; `None` takes the labels that occur.
        encoding: of text files; `None`: UTF-8, or UTF-16 with a byte order mark.
        columns: names of a delimited file's columns if it has no header.
        delimiter: character between fields, for files whose name does not tell.
        quoting: whether `"` quotes fields; `None`: unless the delimiter is a tab.
        separator: what stands between several labels of a row, as in `load_splits`.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: a file is missing.
        PresetError: the preset that was asked for cannot be had.
        ValueError: a source cannot be read, a column is missing, or an argument is out
            of range.

    Example:
        >>> found = kbert.inspect("reviews.csv", text="review", label="stars")
        >>> print(found)
        >>> found["duplicates"].rows["train"]
        >>> found.fix("reviews-clean.csv")
    """
    _check_arguments(validation, test, near_duplicates)
    layout = Reading(
        encoding=encoding,
        columns=columns,
        delimiter=delimiter,
        quoting=quoting,
        separator=separator,
    )
    named = (text, label, text_pair, unlabelled)
    given = {name: getattr(layout, name) for name in LAYOUT}
    given = {name: value for name, value in given.items() if value is not None}
    notes: list[str] = []
    name, guessed = find_task_name(source, task, given)
    if name in ("tag", "answer"):
        parts, words = read_words(name, source, (validation, test), named, given)
        origin = Origin(parts, to_rows(parts), {"train": source}, None)
    else:
        reading, more = find_reading(source, named, layout, name)
        guessed = [*guessed, *more]
        origin, words, notes = read_rows(source, validation, test, reading, label_names)
    chosen = _choose_preset(preset, notes)
    preprocessor = None
    if chosen is not None:
        most = ANSWER_LENGTH if name == "answer" else None
        preprocessor = _build_preprocessor(chosen, max_length, most)
    inspection = _inspect_rows(
        origin.parts,
        origin.rows,
        words,
        preprocessor,
        near_duplicates=near_duplicates,
        languages=languages,
        seed=seed,
        notes=notes,
    )
    if check_labels:
        inspection = _add_label_errors(inspection, origin.rows, chosen, seed)
    said = [note for part in origin.parts.values() for note in _list_notes(part)]
    guesses = (*guessed, *dict.fromkeys(said))
    return replace(inspection, guesses=guesses, _origin=origin)


def _list_notes(part: Any) -> tuple[str, ...]:
    no_table = "fix (--fix) writes tables only, so correct the file itself."
    if isinstance(part, Sentences):
        return (f"Rows are sentences, and tags are counted by word; {no_table}",)
    if isinstance(part, Questions):
        return (f"Rows are questions; {no_table}",)
    return part.notes


def inspect_splits(
    splits: Splits,
    preprocessor: Preprocessor | None = None,
    *,
    near_duplicates: float | None = NEAR,
    languages: bool = True,
    seed: int = 42,
    label_errors: Finding | None = None,
) -> Inspection:
    """Find what is wrong with splits that were read, for the report of a run.

    Rows that `load_splits` dropped are gone; its own `findings` tell of them.

    Args:
        splits: the parts, of any task.
        preprocessor: counts tokens; `None` leaves lengths out.
        near_duplicates: as for `inspect`.
        languages: whether to tell the texts' languages.
        seed: of hash functions and samples.
        label_errors: what `check_labels` has found in them.

    Returns:
        What was found; it cannot be fixed, since it is no file.
    """
    found = _inspect_rows(
        splits.parts,
        to_rows(splits.parts),
        splits.source,
        preprocessor,
        near_duplicates=near_duplicates,
        languages=languages,
        seed=seed,
        notes=[],
    )
    if label_errors is None:
        return found
    return replace(found, findings=_sort([*found.findings, label_errors]))


# === Arguments ===


def _check_arguments(validation: Any, test: Any, near_duplicates: float | None) -> None:
    for name, value in (("validation", validation), ("test", test)):
        if isinstance(value, int | float):
            raise ValueError(
                f"{name} must be a source of its own to be inspected; received "
                f"{value}. A share is cut in training, and its report shows the parts."
            )
    if near_duplicates is not None and not 0 < near_duplicates <= 1:
        raise ValueError(
            "near_duplicates must be a similarity in (0, 1] or None; "
            f"received {near_duplicates}."
        )


def _choose_preset(
    preset: "str | os.PathLike[str] | Preset | None", notes: list[str]
) -> "Preset | None":
    from kbert.presets import PresetError, load_preset
    from kbert.presets.embedded import load_embedded_preset

    if preset is not None:
        return load_preset(preset)
    try:
        return load_embedded_preset()
    except PresetError as error:
        notes.append(f"lengths and unknown tokens, for want of a tokenizer: {error}")
        return None


def _build_preprocessor(
    preset: "Preset", max_length: int | None, most: int | None
) -> Preprocessor:
    longest = preset.config.max_sequence_length
    if max_length is not None and max_length > longest:
        raise ValueError(
            f"max_length must be at most {longest}, the longest text of preset "
            f"{preset.name!r} in tokens; received {max_length}."
        )
    return Preprocessor(
        preset.tokenizer, max_length=max_length or min(longest, most or longest)
    )


# === Looking ===


def _inspect_rows(
    parts: Mapping[str, Any],
    rows: Rows,
    source: str,
    preprocessor: Preprocessor | None,
    *,
    near_duplicates: float | None,
    languages: bool,
    seed: int,
    notes: list[str],
) -> Inspection:
    faults, label_counts = find_label_faults(parts, rows)
    findings = [*check_repeats(rows), *faults, *check_characters(rows)]
    if isinstance(parts["train"], Questions):
        notes.append(
            "near duplicates, since questions on one text share it; exact ones were."
        )
    elif near_duplicates is not None:
        findings += check_near(rows, near_duplicates, seed, notes)
    truncation = None
    if preprocessor is not None:
        is_windowed = isinstance(parts["train"], Sentences | Questions)
        truncation, found = check_lengths(rows, preprocessor, is_windowed)
        findings += found
    told: dict[str, int] = {}
    if languages:
        told, found = check_languages(rows, seed, notes)
        findings += found
    return Inspection(
        source=source,
        num_rows={part: len(split) for part, split in rows.parts.items()},
        label_counts=label_counts,
        findings=_sort(findings),
        notes=tuple(notes),
        truncation=truncation,
        max_length=None if preprocessor is None else preprocessor.max_length,
        languages=told,
    )


def _sort(findings: list[Finding]) -> tuple[Finding, ...]:
    order = list(KINDS)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.kind)))


def check_labels(
    splits: Splits, preset: "Preset | None", *, seed: int = 42
) -> Finding | None:
    """Find training rows whose label is probably wrong, before a training.

    Args:
        splits: of classes.
        preset: whose encoder's features tell; `None` for TF-IDF.
        seed: of the folds.

    Returns:
        The finding, the surest rows first; `None` where every label may be right.

    Raises:
        ValueError: cleanlab is missing, or there are too few rows or classes.
    """
    found, _ = _find_label_errors(Rows({"train": splits.train}), preset, seed)
    return found[0] if found else None


def _add_label_errors(
    inspection: Inspection, rows: Rows, preset: "Preset | None", seed: int
) -> Inspection:
    if not rows.has_classes:
        raise ValueError(
            "check_labels needs a column of classes; name it with label=, or leave "
            "check_labels out."
        )
    found, ranking = _find_label_errors(rows, preset, seed)
    findings = _sort([*inspection.findings, *found])
    return replace(inspection, findings=findings, label_errors=ranking)


def _find_label_errors(
    rows: Rows, preset: "Preset | None", seed: int
) -> tuple[list[Finding], LabelErrors]:
    from kbert.inspection.labels import rank_label_errors

    ranked, quality, details = rank_label_errors(rows, preset, seed)
    wrong = ranked[: len(details)]
    found = describe(rows, "label_errors", wrong, details, among=len(ranked))
    return found, LabelErrors(rows.by_part(ranked)["train"], quality, len(wrong))
