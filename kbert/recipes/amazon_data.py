"""The customer reviews of the amazon recipe: where they are and how they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kbert.data.files import Reading, suggest
from kbert.data.sources import Source, read_source
from kbert.recipes.experiment import Material
from kbert.recipes.flags import Flags
from kbert.recipes.reviews_data import SAMPLE, Places, build_material, find_files
from kbert.recipes.sources import find_hub_dataset

REPOSITORY = "fancyzhx/amazon_polarity"
# The document names a set of the hub and no number of rows; this is the hub's.
NUM_DOCUMENTED = (3_600_000, 400_000)
# File names of the two parts, as the polarity set, its subset of the multilingual
# corpus and that corpus's English files have them.
STEMS = {
    "train": "test",
    "polarity_train": "polarity_test",
    "reviews_multi_en_train": "reviews_multi_en_test",
    "reviews_multi_en_validation": "reviews_multi_en_test",
}
RATINGS = ("label", "stars")
NO_HEADER = ("label", "title", "content")  # of the polarity set's original files
JOINED = "A title and its review are one text, the title on a line of its own before."
NOTICE = (
    "The documented data (Amazon reviews) could not be fetched from the Hugging Face "
    "hub, so kbert's bundled sample of invented reviews is used: its figures say "
    "nothing about the documented ones. Name your copy with --data FOLDER."
)


def load_amazon(flags: Flags) -> Material:
    """Read the reviews; a tenth of those to train on is kept to validate with.

    Args:
        flags: `data` is a folder with files of one of the names in `STEMS`, or the one
            to train on. They have the columns `label` (0 and 1, or 1 and 2), `title`
            and `content`; or `stars` (1 to 5) in place of `label`, of which 1 and 2 are
            negative, 4 and 5 positive, and 3 is left out. `None` takes the hub's where
            they can be had, else the bundled sample. `limit` is of each file.

    Returns:
        Train, validation and test.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the files are not as they should be.
    """
    if flags.data is not None:
        places = find_files(flags.data, STEMS)
        words = str(places.train)  # a folder may hold several of these sets
    elif (found := find_hub_dataset(REPOSITORY)) is not None:
        places, words = Places(found["train"], found["test"]), f"the hub's {REPOSITORY}"
    else:
        sample, words = find_files(SAMPLE, STEMS), "kbert's bundled sample"
        return build_material(sample, flags, words=words, notice=NOTICE)
    test = None if places.test is None else read_reviews(places.test, is_test=True)
    material = build_material(
        Places(read_reviews(places.train), test),
        flags,
        words=words,
        num_documented=NUM_DOCUMENTED,
        sentences=[JOINED],
    )
    return replace(material, splits=replace(material.splits, source=words))


def read_reviews(place: Any, is_test: bool = False) -> pa.Table:
    """Read rated reviews of any of the known formats.

    Args:
        place: a path, or anything else that `kbert.load_splits` takes.
        is_test: whether the rows may do without ratings, or have -1 for each.

    Returns:
        Columns `text` (title and content) and `label` (0 negative, 1 positive; none
        where the rows have no rating), without the reviews of three stars.

    Raises:
        ValueError: a column is missing, or a rating is none.
    """
    reading = Reading(text="content", text_pair="title", label=None)
    source = read_source(place, replace(reading, columns=_find_names(place)))
    text = pc.utf8_trim_whitespace(
        pc.binary_join_element_wise(
            pc.fill_null(source.text_pairs, ""),
            pc.fill_null(source.texts, ""),
            pa.scalar("\n", pa.large_string()),
        )
    )
    names = source.table.column_names
    if is_test and not _is_rated(source):
        return pa.table({"text": text})
    if "label" in names:
        labels = _read_polarity(source)
    elif "stars" in names:
        labels = _read_stars(source)
    else:
        raise ValueError(
            f"{source.name} has no column 'label' (0 or 1) nor 'stars' (1 to 5)"
            f"{suggest('stars', names)} It has {', '.join(names)}."
        )
    table = pa.table({"text": text, "label": labels})
    return table.filter(pc.is_valid(table["label"]))


def _is_rated(source: Source) -> bool:
    """Whether there is a rating; null and -1, which the hub writes, are none."""
    name = next((one for one in RATINGS if one in source.table.column_names), None)
    values = () if name is None else source.table.column(name).unique().to_pylist()
    return any(value is not None and str(value) not in ("", "-1") for value in values)


def _find_names(place: Any) -> tuple[str, ...] | None:
    """Return the columns' names of a file that begins with a review."""
    if not isinstance(place, Path) or place.suffix.lower() != ".csv":
        return None
    with place.open(encoding="utf-8", errors="replace") as file:
        start = file.readline(3).lstrip("\ufeff").strip('",')
    return NO_HEADER if start in ("1", "2") else None


def _read_polarity(source: Source) -> pa.Array:
    """Return 0 and 1, of those or of the original files' 1 and 2."""
    labels = _read_numbers(source, "label", "0 and 1, or 1 and 2", 0, 2)
    if pc.max(labels).as_py() < 2:
        return labels
    lowest = pc.index(labels, pa.scalar(0, pa.int64())).as_py()
    if lowest >= 0:
        raise ValueError(
            f"column 'label' of {source.name} must hold 0 and 1, or 1 and 2; it has "
            "all three. Write 0 for blame and 1 for praise."
        )
    return pc.subtract(labels, 1)


def _read_stars(source: Source) -> pa.Array:
    """Return 0 for one or two stars, 1 for four or five, and null for three."""
    stars = _read_numbers(source, "stars", "1 to 5", 1, 5)
    if len(stars) and pc.all(pc.equal(stars, 3)).as_py():
        raise ValueError(
            f"every row of {source.name} has 3 stars, which are neither praise nor "
            "blame and are left out; pass a file with others."
        )
    return pc.if_else(
        pc.equal(stars, 3), None, pc.cast(pc.greater(stars, 3), pa.int64())
    )


def _read_whole(value: Any) -> int | None:
    """Return a whole number, or `None` for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    is_whole = number.is_integer() and abs(number) < 2**53  # NaN and inf are not
    return int(number) if is_whole else None


def _read_numbers(
    source: Source, name: str, wanted: str, lowest: int, highest: int
) -> pa.Array:
    """Read a column of whole numbers, all of them in a range."""
    column = source.table.column(name).chunk(0)
    try:
        numbers = pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        numbers = pa.array(map(_read_whole, column.to_pylist()), pa.int64())
    inside = pc.and_(pc.greater_equal(numbers, lowest), pc.less_equal(numbers, highest))
    row = pc.index(pc.fill_null(inside, False), False).as_py()
    if row >= 0:
        raise ValueError(
            f"column {name!r} of {source.name} must hold {wanted}; row {row:,} has "
            f"{column[row].as_py()!r}. Correct the row, or leave it out."
        )
    return numbers
