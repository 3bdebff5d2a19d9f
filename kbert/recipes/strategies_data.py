"""The reviews of the strategies recipe: where they are found and how they are cut."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data import Split, Splits, load_split, load_splits
from kbert.recipes.experiment import Material
from kbert.recipes.flags import Flags
from kbert.recipes.reviews_data import LABEL_NAMES, LABEL_WORDS, SAMPLE, find_files
from kbert.recipes.sources import find_hub_dataset

HUB_NAME = "stanfordnlp/imdb"
NUM_DOCUMENTED_ROWS = 25_000
STEMS = {"train": "test"}  # the file that is cut, and one that nothing reads
NOTICE = (
    "The documented data (25,000 IMDb reviews) could not be fetched from the Hugging "
    "Face hub, so kbert's bundled sample of invented reviews is used: its figures say "
    "nothing about the documented ones. Name your copy with --data FOLDER."
)


def load_reviews(flags: Flags) -> Material:
    """Read IMDb's training reviews and cut them 80 : 10 : 10 at random.

    The document cuts them so for its full run, and 80 : 20 for its studies, which use
    the first rows of both parts; here they use the first of train and validation.

    Args:
        flags: `data` is a folder with `train.parquet` (or `.csv` and the like) or a
            file, with the columns `text` and `label`; `None` takes the hub's where
            they can be had, else the bundled sample. With `as_documented`, the test
            rows are drawn anew from all that are held out, without regard to those
            that validate.

    Returns:
        Train, validation and test.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not as it should be.
    """
    source, words, notice = _find_source(flags.data)
    splits = load_splits(
        source, validation=0.1, test=0.1, seed=flags.seed, stratify=False,
        limit=flags.limit,
    )  # fmt: skip
    if splits.label_names not in LABEL_NAMES:
        raise ValueError(
            f"column 'label' of {words} must hold 0 (negative) and 1 (positive); "
            f"received {', '.join(splits.label_names[:5])}. Name a file of reviews "
            "with such labels."
        )
    num_rows = sum(map(len, splits.parts.values()))
    sentences = []
    if flags.as_documented:
        splits, num_shared = overlap(splits, load_split(source, label="label"), flags)
        sentences = [
            "Validation and test are cut from the same rows one without the other, as "
            f"in the document: {num_shared:,} rows are in both."
        ]
    return Material(
        splits=splits,
        words=words,
        notice=notice,
        is_documented=notice is None and num_rows == NUM_DOCUMENTED_ROWS,
        sentences=sentences,
        label_words=LABEL_WORDS,
    )


def overlap(splits: Splits, whole: Split, flags: Flags) -> tuple[Splits, int]:
    """Draw the test rows anew, from validation and test together.

    Args:
        splits: train, validation and test.
        whole: all rows of their source.
        flags: `seed` is of the draw.

    Returns:
        The parts, the first two as they were; and how many rows the last two share.
    """
    validation, test = splits.parts["validation"], splits.parts["test"]
    rest = np.sort(np.concatenate([validation.rows, test.rows]))
    chosen = np.random.default_rng(flags.seed).permutation(rest)[: len(test)]
    num_shared = len(np.intersect1d(validation.rows, chosen))
    return replace(splits, test=whole[chosen]), num_shared


def _find_source(data: Path | None) -> tuple[Any, str, str | None]:
    """Find the file of training reviews, its name in words, and what it stands for."""
    if data is not None:
        return find_files(data, STEMS).train, str(data), None
    found = find_hub_dataset(HUB_NAME)
    if found is not None:
        return found["train"], f"the hub's {HUB_NAME}", None
    return find_files(SAMPLE, STEMS).train, "kbert's bundled sample", NOTICE
