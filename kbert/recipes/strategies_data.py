"""The reviews of the strategies recipe: where they are found and how they are cut."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data import Splits, load_splits
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
            they can be had, else the bundled sample. With `as_documented`, validation
            and test are random halves of the same rows, drawn one without the other.

    Returns:
        Train, validation and test.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not as it should be.
    """
    source, words, notice = _find_source(flags.data)
    splits = load_splits(
        source,
        validation=0.2 if flags.as_documented else 0.1,
        test=None if flags.as_documented else 0.1,
        seed=flags.seed,
        stratify=False,
        limit=flags.limit,
    )
    if splits.label_names not in LABEL_NAMES:
        raise ValueError(
            f"column 'label' of {words} must hold 0 (negative) and 1 (positive); "
            f"received {', '.join(splits.label_names[:5])}. Name a file of reviews "
            "with such labels."
        )
    num_rows = sum(map(len, splits.parts.values()))
    sentences = []
    if flags.as_documented:
        splits, num_shared = overlap(splits, flags.seed)
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


def overlap(splits: Splits, seed: int) -> tuple[Splits, int]:
    """Cut the held-out rows in halves twice; keep one half of each cut.

    Args:
        splits: train and validation.
        seed: of both cuts.

    Returns:
        Train, validation and test; and how many rows the last two share.
    """
    rest = splits.validation
    assert rest is not None
    generator = np.random.default_rng(seed)
    half = len(rest) // 2
    validation = rest[generator.permutation(len(rest))[:half]]
    test = rest[generator.permutation(len(rest))[half:]]
    num_shared = len(np.intersect1d(validation.rows, test.rows))
    return replace(splits, validation=validation, test=test), num_shared


def _find_source(data: Path | None) -> tuple[Any, str, str | None]:
    """Find the file of training reviews, its name in words, and what it stands for."""
    if data is not None:
        return find_files(data, STEMS).train, str(data), None
    found = find_hub_dataset(HUB_NAME)
    if found is not None:
        return found["train"], f"the hub's {HUB_NAME}", None
    return find_files(SAMPLE, STEMS).train, "kbert's bundled sample", NOTICE
