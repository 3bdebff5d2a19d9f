"""Turn what the single checks find into findings."""

from collections.abc import Sequence

import numpy as np

from kbert.inspection import near
from kbert.inspection.characters import find_mojibake, find_odd
from kbert.inspection.finding import Finding, describe
from kbert.inspection.languages import LEAST_BYTES, MOST_ASKED, find_languages
from kbert.inspection.rows import Rows
from kbert.inspection.tokens import LEAST_UNKNOWN, count_tokens
from kbert.text import Preprocessor, Truncation

_NONE = np.empty(0, np.int64)


def check_repeats(rows: Rows) -> list[Finding]:
    """Find what is the same: nulls, blanks, duplicates, conflicts, leaks."""
    masks = {kind: np.flatnonzero(mask) for kind, mask in rows.masks().items()}
    firsts, labels = rows.first_of_each_text(masks["duplicates"]), rows.label_of
    details = {
        "duplicates": [f"like row {row}" for row in firsts],
        "conflicts": [f"labelled {labels(p)!r}" for p in masks["conflicts"].tolist()],
    }
    findings = [
        finding
        for kind, positions in masks.items()
        for finding in describe(rows, kind, positions, details.get(kind, ()))
    ]
    leaks = [
        earlier[
            (rows.numbers[earlier] >= 0)
            & np.isin(rows.numbers[earlier], rows.numbers[later])
        ]
        for earlier, later in rows.earlier_and_later()
    ]
    return findings + _describe_leaks(rows, "leaks", np.concatenate([*leaks, _NONE]))


def _describe_leaks(
    rows: Rows, kind: str, positions: np.ndarray, details: Sequence[str] = ()
) -> list[Finding]:
    among = sum(len(earlier) for earlier, _ in rows.earlier_and_later())
    return describe(rows, kind, positions, details, among=among)


def check_near(
    rows: Rows, threshold: float, seed: int, notes: list[str]
) -> list[Finding]:
    """Find what is nearly the same: near duplicates, near leaks.

    Args:
        rows: all rows.
        threshold: least Jaccard similarity.
        seed: of the hash functions.
        notes: gets a sentence where not all were looked at.

    Returns:
        The findings.
    """
    if len(rows) > near.MOST_ROWS:
        notes.append(
            f"near duplicates, since there are more than {near.MOST_ROWS:,} rows; "
            "exact ones were."
        )
        return []
    texts = near.NearTexts(rows, threshold, seed)
    if not texts.is_complete:
        notes.append(
            f"all near duplicates, since more than {near.MOST_COMPARED:,} pairs of "
            "texts are somewhat alike; there may be more than are listed."
        )
    within = [
        match
        for own in map(rows.positions, rows.parts)
        for match in texts.match(own, own)
    ]
    across = [
        match
        for earlier, later in rows.earlier_and_later()
        for match in texts.match(earlier, later)
    ]
    return [
        *describe(
            rows,
            "near_duplicates",
            np.array([position for position, _, _ in within], np.int64),
            [_describe_match(rows, match) for match in within],
            remark=_count_conflicts(rows, within),
        ),
        *_describe_leaks(
            rows,
            "near_leaks",
            np.array([position for position, _, _ in across], np.int64),
            [_describe_match(rows, match) for match in across],
        ),
    ]


def _describe_match(rows: Rows, match: tuple[int, int, float]) -> str:
    _, other, similarity = match
    part, row = rows.locate(other)
    return f"{similarity:.0%} like {part} {row}"


def _count_conflicts(rows: Rows, matches: list[tuple[int, int, float]]) -> str:
    labels = rows.labels
    count = sum(labels[a] >= 0 and 0 <= labels[b] != labels[a] for a, b, _ in matches)
    return f"{count:,} of them have another label." if count else ""


def check_characters(rows: Rows) -> list[Finding]:
    """Find characters that do not belong there: mojibake, garbled and odd ones."""
    repaired, garbled = find_mojibake(rows)
    odd, details = find_odd(rows)
    return [
        *describe(rows, "mojibake", np.array(list(repaired), np.int64), repaired),
        *describe(rows, "garbled", np.array(garbled, np.int64)),
        *describe(rows, "odd_characters", odd, details),
    ]


def check_lengths(
    rows: Rows, preprocessor: Preprocessor, is_windowed: bool = False
) -> tuple[Truncation | None, list[Finding]]:
    """Find what a preset cannot read: unknown tokens, and what is too long.

    Args:
        rows: all rows.
        preprocessor: of the preset.
        is_windowed: whether rows that are too long are read in windows.

    Returns:
        What its length cuts off, if anything is cut, and the findings.
    """
    tokens = count_tokens(rows, preprocessor)
    unknown = np.flatnonzero(tokens.unknown >= LEAST_UNKNOWN)
    cut = np.flatnonzero(tokens.lengths > tokens.max_length)
    cut = cut[np.argsort(-tokens.lengths[cut], kind="stable")]
    shares = [f"{tokens.unknown[p]:.0%} unknown" for p in unknown.tolist()]
    lengths = [f"{tokens.lengths[p]:,} tokens" for p in cut.tolist()]
    return None if is_windowed else tokens.truncation, [
        *describe(rows, "unknown_tokens", unknown, shares),
        *describe(rows, "windowed" if is_windowed else "truncated", cut, lengths),
    ]


def check_languages(
    rows: Rows, seed: int, notes: list[str]
) -> tuple[dict[str, int], list[Finding]]:
    """Find texts in other languages than most.

    Args:
        rows: all rows.
        seed: of the sample that the main language is found with.
        notes: gets a sentence where not all were looked at.

    Returns:
        Language to rows, and the findings.
    """
    told, others, num_long, is_complete = find_languages(rows, seed)
    if not is_complete:
        notes.append(
            f"the language of every text: {MOST_ASKED:,} were asked about, and the "
            "rest was left."
        )
    if not told:
        return {}, []
    short = len(rows) - num_long
    remark = f"Most are in {next(iter(told))!r}."
    if short and is_complete:
        remark += (
            f" {short:,} texts of fewer than {LEAST_BYTES} letters are too short to "
            "tell."
        )
    found = np.array(list(others), np.int64)
    return told, describe(
        rows, "languages", found, others, among=num_long, remark=remark
    )
