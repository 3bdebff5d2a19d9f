"""What is wrong with tagged words."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from kbert.evaluation.entities import split_tag
from kbert.inspection.classes import FEW_ROWS
from kbert.inspection.finding import Finding, describe
from kbert.inspection.rows import Rows
from kbert.tasks.tag_data import Sentences

_LISTED = 5


def count_tags(parts: Mapping[str, Sentences]) -> dict[str, dict[str, int]]:
    """Count the words of each tag in each tagged part."""
    return {
        name: dict(sorted(Counter(tag for tags in part.tags for tag in tags).items()))
        for name, part in parts.items()
        if part.tags is not None
    }


def find_tag_faults(parts: Mapping[str, Sentences], rows: Rows) -> list[Finding]:
    """Find tags that are none, that nothing begins, or that training lacks.

    Args:
        parts: sentences by part, as they stand in their files.
        rows: the same, as texts.

    Returns:
        The findings.
    """
    bad: dict[int, str] = {}
    blank: dict[int, str] = {}
    loose: dict[int, str] = {}
    num_begun = 0
    for name, part in parts.items():
        positions = rows.positions(name).tolist()
        for position, words in zip(positions, part.words, strict=True):
            if not all(word.strip() for word in words):
                blank[position] = (
                    f"word {[bool(w.strip()) for w in words].index(False)}"
                )
        for position, words, tags in zip(
            positions, part.words, part.tags or (), strict=False
        ):
            read = [_split(tag) for tag in tags]
            if None in read:
                bad[position] = f"the tag {tags[read.index(None)]!r}"
            num_begun += sum(one is not None and one[0] in "BS" for one in read)
            if (place := _find_loose(read)) is not None:
                loose[position] = f"{tags[place]} of {words[place]!r}"
    if len(loose) > num_begun:  # IOB1: B- only parts neighbours of one type
        loose = {}
    found = {"bad_tags": bad, "blank_words": blank, "loose_inside": loose}
    return [
        *(
            finding
            for kind, details in found.items()
            for finding in describe(rows, kind, np.array([*details], np.int64), details)
        ),
        *_find_unseen(parts, rows),
        *_find_rare(parts["train"], rows),
    ]


def _split(tag: str) -> tuple[str, str] | None:
    try:
        return split_tag(tag)
    except ValueError:
        return None


def _find_loose(tags: Sequence[tuple[str, str] | None]) -> int | None:
    """Find the first word inside an entity that no word before it begins."""
    before = None
    for place, tag in enumerate(tags):
        if tag is not None and tag[0] in "IE":
            if before is None or before[0] not in "BI" or before[1] != tag[1]:
                return place
        before = tag
    return None


def _find_unseen(parts: Mapping[str, Sentences], rows: Rows) -> list[Finding]:
    if parts["train"].tags is None:
        return []
    seen = {tag for tags in parts["train"].tags for tag in tags}
    details: dict[int, str] = {}
    for name, part in parts.items():
        for position, tags in zip(
            rows.positions(name).tolist(), part.tags or (), strict=False
        ):
            if unseen := [tag for tag in tags if tag not in seen]:
                details[position] = f"the tag {unseen[0]!r}"
    among = len(rows) - len(parts["train"])
    return describe(
        rows, "unseen_classes", np.array([*details], np.int64), details, among=among
    )


def _find_rare(train: Sentences, rows: Rows) -> list[Finding]:
    """Find sentences with a type of entity that few have, or the one tag of all."""
    own = rows.positions("train")
    sentences = defaultdict(list)
    for place, tags in enumerate(train.tags or ()):
        for kind in {one[1] for one in map(_split, tags) if one and one[0] != "O"}:
            sentences[kind].append(place)
    if train.tags is not None and len({t for tags in train.tags for t in tags}) == 1:
        remark = f"It is {next(t for tags in train.tags for t in tags)!r}."
        return describe(rows, "one_class", own, among=len(own), remark=remark)
    rare = {k: rows for k, rows in sorted(sentences.items()) if len(rows) < FEW_ROWS}
    named = ", ".join(f"{k!r} ({len(rare[k]):,})" for k in list(rare)[:_LISTED])
    found = own[sorted({place for places in rare.values() for place in places})]
    remark = (
        f"Of {len(sentences):,} types {len(rare):,} are in fewer than {FEW_ROWS} "
        f"training sentences: {named}."
    )
    return describe(rows, "few_rows", found, among=len(own), remark=remark)
