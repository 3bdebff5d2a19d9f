"""The sentence pairs of the mrpc recipe: where they are found and how they are read."""

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kbert.data import Split, Splits, load_split, load_splits
from kbert.data.csv_rows import CsvWriter
from kbert.data.folders import find_parts
from kbert.recipes.experiment import Material
from kbert.recipes.flags import Flags
from kbert.recipes.sources import SAMPLES, find_hub_dataset

if TYPE_CHECKING:
    from kbert.models import Model
    from kbert.recipes.trial import Trial

REPOSITORY, CONFIGURATION = "nyu-mll/glue", "mrpc"
SAMPLE = SAMPLES / "pairs"
DOCUMENTED_ROWS = (3_668, 408)  # to train on, to validate with
LABEL_NAMES = (("0", "1"), ("not_equivalent", "equivalent"))  # as the data have them
LABEL_WORDS = ("different", "paraphrase")  # as people read them
FIRST, SECOND = "sentence1", "sentence2"  # columns
NOTICE = (
    "The documented data (GLUE's MRPC, 3,668 and 408 pairs) was not found, so kbert's "
    "bundled sample of invented pairs is used: its figures say nothing about the "
    "documented ones. Name your copy with --data FOLDER."
)
PAD = "padded to 512 there, in batches of 8 or 16; the document's machine is not named"
TIMED = f"{PAD}; validation after each epoch included here"
REMARKS = (
    "The variants' names are the document's: its learning_rate changes the batch alone "
    "(8 to 16), its batch_size the rate (5e-5 to 2e-5).",
    "The document's batch_size and epochs go on training the model of the run before: "
    "their first ten steps lose .18 and .0006, those from BERT .74 to .87.",
    "The document gives no accuracy and no F1. BERT's own paper (Devlin et al. 2019, "
    "table 1) reports an F1 of .889 with BERT-base and .893 with BERT-large, on GLUE's "
    "hidden test pairs.",
)
CUT = "There was no validation part, so a tenth of the pairs was cut off for it."
NOT_SCORED = (
    "The test pairs are predicted and not scored: figures are of the validation pairs, "
    "as in the document."
)


def load_pairs(flags: Flags) -> Material:
    """Read the pairs in the parts that they come in.

    Args:
        flags: `data` is a folder with `train.csv` and perhaps `validation.csv` and
            `test.csv`, or a file to train on; `None` takes the hub's where they can be
            had, else the bundled sample. `limit` is of the labelled parts.

    Returns:
        Train and validation; test, without labels, if there is any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the data are not as they should be.
    """
    data, place, notice = flags.data, str(flags.data), None
    if data is None:
        data = find_hub_dataset(REPOSITORY, CONFIGURATION)
        place = f"{CONFIGURATION} of the hub's {REPOSITORY}"
    if data is None:
        data, place, notice = SAMPLE, "kbert's bundled sample", NOTICE
    parts = find_parts(data)
    splits = load_splits(
        parts["train"],
        text=FIRST,
        text_pair=SECOND,
        validation=parts.get("validation", 0.1),
        seed=flags.seed,
        limit=flags.limit,
    )
    if splits.label_names not in LABEL_NAMES:
        raise ValueError(
            f"column 'label' of {place} must hold 0 and 1; received "
            f"{', '.join(splits.label_names[:5])}. Write 1 for paraphrases."
        )
    if "test" in parts:
        # Never scored, so its labels, if it has any, are not even read.
        test = load_split(parts["test"], text=FIRST, text_pair=SECOND)
        splits = replace(splits, test=test)
    for name, part in splits.parts.items():
        _check_both(name, part)
    return Material(
        splits=splits,
        words=place,
        notice=notice,
        is_documented=notice is None and _count(splits) == DOCUMENTED_ROWS,
        sentences=[
            *([] if "validation" in parts else [CUT]),
            *([NOT_SCORED] if "test" in parts else []),
        ],
        label_words=LABEL_WORDS,
    )


def write_pairs(trial: "Trial", model: "Model") -> None:
    """Write the document's files, and predictions of the test pairs as GLUE wants them.

    Args:
        trial: the trial, trained.
        model: its model.
    """
    for name, part in (("train.tsv", trial.train), ("dev.tsv", trial.validation)):
        assert part is not None  # load_pairs always finds or cuts one
        frame = part.to_pandas()[["text", "text_pair", "label"]]
        trial.files[name] = _write_tsv(trial, name, frame.to_numpy())
    test = trial.material.splits.test
    if test is not None:
        classes = model.predict(test).argmax(axis=1).tolist()
        rows = [("index", "prediction"), *enumerate(classes)]
        path = _write_tsv(trial, "MRPC.tsv", rows)
        trial.files["Test"] = f"{path} (predicted, not scored)"


def _write_tsv(trial: "Trial", name: str, rows: Iterable) -> Path:
    """Write values between tabs, quoted where they need it, as pandas does."""
    text = io.StringIO()
    CsvWriter(text, delimiter="\t").writerows(rows)
    return trial.folder.write_text(name, text.getvalue())


def _count(splits: Splits) -> tuple[int, int]:
    return len(splits.train), len(splits.validation or ())


def _check_both(name: str, part: Split) -> None:
    """Refuse a pair that is no pair."""
    for column, texts in ((FIRST, part.texts), (SECOND, part.text_pairs or ())):
        for row, text in zip(part.rows, texts, strict=True):
            if not text.strip():
                raise ValueError(
                    f"{column} of row {row:,} in {name} is empty, and a pair needs two "
                    "sentences. Fill it, or remove the row."
                )
