"""The tweets of the tweets recipe: where they are found and how they are read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kbert.data import Splits, load_split, load_splits
from kbert.recipes.sources import SAMPLES, find_kaggle_competition

COMPETITION = "nlp-getting-started"
SAMPLE = SAMPLES / "tweets"
DOCUMENTED_PRESET = "bert_base_en_uncased"
NUM_DOCUMENTED_ROWS = 7_613
LABEL_NAMES = ("0", "1")  # as the files have them
LABEL_WORDS = ("other", "disaster")  # as people read them


@dataclass(frozen=True)
class Tweets:
    """What the recipe trains on.

    Args:
        splits: train and validation, 80 : 20 at random; test: all the unlabelled
            tweets, in their file's order, if there are any.
        test_ids: their ids.
        words: where they are from, as people read it.
        notice: a sentence that says what stands in for the documented data, if it does.
    """

    splits: Splits
    test_ids: list[Any]
    words: str
    notice: str | None

    @property
    def is_documented(self) -> bool:
        """Whether these are all the tweets of the source, in both parts."""
        num_rows = len(self.labelled_texts)
        return self.notice is None and num_rows == NUM_DOCUMENTED_ROWS

    @property
    def labelled_texts(self) -> list[str]:
        """The tweets to train on, then those to validate with."""
        parts = (self.splits.train, self.splits.validation)
        return [text for part in parts if part is not None for text in part.texts]


def load_tweets(data: Path | None, *, seed: int, limit: int | None) -> Tweets:
    """Read the tweets and cut them 80 : 20 at random, as the source does.

    Args:
        data: folder with `train.csv` and perhaps `test.csv`, or the first of them;
            `None` takes Kaggle's where they can be had, else the bundled sample.
        seed: of the cut.
        limit: most rows of `train.csv` to use; `None` uses all.

    Returns:
        The tweets.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the files are not as they should be.
    """
    notice, place = None, str(data)
    if data is None:
        data = find_kaggle_competition(COMPETITION)
        place = f"Kaggle's {COMPETITION}"
    if data is None:
        data, place = SAMPLE, "kbert's bundled sample"
        notice = (
            "The documented data (Kaggle's disaster tweets, 7,613 of them) needs a "
            "Kaggle account and was not found, so kbert's bundled sample of invented "
            "tweets is used: its figures say nothing about the documented ones. "
            "Name your copy with --data FOLDER."
        )
    train_path, test_path = _find_files(data)
    splits = load_splits(
        train_path,
        text="text",
        label="target",
        validation=0.2,
        test=test_path,
        seed=seed,
        stratify=False,
        limit=limit,
    )
    if splits.label_names != LABEL_NAMES:
        raise ValueError(
            f"column 'target' of {train_path} must hold 0 and 1; received "
            f"{', '.join(splits.label_names[:5])}. Write 1 for tweets about a disaster."
        )
    if test_path is None:
        return Tweets(splits, [], place, notice)
    # Read once more without the limit, which is for training: all are predicted.
    test = load_split(test_path, text="text")
    ids = test.column("id")
    if None in ids:
        raise ValueError(
            f"column 'id' of {test_path} is null in row {ids.index(None):,}; give "
            "every tweet its id, which submission.csv repeats."
        )
    return Tweets(replace(splits, test=test), ids, place, notice)


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
