"""The tweets of the tweets recipe: where they are found and how they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from kbert.data import Split, load_split, load_splits
from kbert.recipes.experiment import Material
from kbert.recipes.flags import Flags
from kbert.recipes.sources import SAMPLES, find_kaggle_competition

COMPETITION = "nlp-getting-started"
SAMPLE = SAMPLES / "tweets"
NUM_DOCUMENTED_ROWS = 7_613
LABEL_NAMES = ("0", "1")  # as the files have them
LABEL_WORDS = ("other", "disaster")  # as people read them
NOTICE = (
    "The documented data (Kaggle's disaster tweets, 7,613 of them) needs a Kaggle "
    "account and was not found, so kbert's bundled sample of invented tweets is used: "
    "its figures say nothing about the documented ones. Name your copy with --data "
    "FOLDER."
)


def load_tweets(flags: Flags) -> Material:
    """Read the tweets and cut them 80 : 20 at random, as the source does.

    Args:
        flags: `data` is a folder with `train.csv` and perhaps `test.csv`, or the first
            of them; `None` takes Kaggle's where they can be had, else the bundled
            sample. `limit` is of `train.csv`.

    Returns:
        Train and validation; test: all the unlabelled tweets, in their file's order,
        if there are any, and `extra["test_ids"]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the files are not as they should be.
    """
    data, notice, place = flags.data, None, str(flags.data)
    if data is None:
        data = find_kaggle_competition(COMPETITION)
        place = f"Kaggle's {COMPETITION}"
    if data is None:
        data, place, notice = SAMPLE, "kbert's bundled sample", NOTICE
    train_path, test_path = _find_files(data)
    splits = load_splits(
        train_path,
        text="text",
        label="target",
        validation=0.2,
        test=test_path,
        seed=flags.seed,
        stratify=False,
        limit=flags.limit,
    )
    if splits.label_names != LABEL_NAMES:
        raise ValueError(
            f"column 'target' of {train_path} must hold 0 and 1; received "
            f"{', '.join(splits.label_names[:5])}. Write 1 for tweets about a disaster."
        )
    num_rows = len(splits.train) + len(splits.validation or ())
    extra = {}
    if test_path is not None:
        # Read once more without the limit, which is for training: all are predicted.
        test = load_split(test_path, text="text")
        splits = replace(splits, test=test)
        extra = {"test_ids": _find_ids(test, test_path)}
    return Material(
        splits=splits,
        words=place,
        notice=notice,
        is_documented=notice is None and num_rows == NUM_DOCUMENTED_ROWS,
        label_words=LABEL_WORDS,
        extra=extra,
    )


def _find_ids(test: Split, path: Path) -> list[Any]:
    ids = test.column("id")
    if None in ids:
        raise ValueError(
            f"column 'id' of {path} is null in row {ids.index(None):,}; give "
            "every tweet its id, which submission.csv repeats."
        )
    return ids


def _find_files(data: Path) -> tuple[Path, Path | None]:
    train = data
    if data.is_dir():
        train = data / "train.csv"
        if not train.is_file():
            raise FileNotFoundError(
                f"folder {data} has no train.csv. Name the folder that holds Kaggle's "
                "train.csv and test.csv, or the train.csv itself."
            )
    test = train.with_name("test.csv")
    return train, test if test.is_file() and test != train else None
