"""The film reviews of the imdb recipe: where they are found and how they are read."""

from dataclasses import dataclass
from typing import Literal

from kbert import cli
from kbert.recipes.experiment import Material
from kbert.recipes.flags import Flags
from kbert.recipes.reviews_data import SAMPLE, Places, build_material, find_files
from kbert.recipes.sources import find_hub_dataset

REPOSITORY = "stanfordnlp/imdb"
NUM_DOCUMENTED = (25_000, 25_000)
REMARKS = (
    "The document names neither the debugged stage's schedule nor how many batches "
    "make an update or how many views a prediction; a cosine, 2 and 5 are taken. So 16 "
    "texts make an update in both stages, and the refined one's larger batch is none.",
    "Nor does it name the debugged stage's epochs; three are taken, as before, so that "
    "its patience of two stops no run early and chooses the epoch that is kept.",
    "The document runs out of memory with batches of 16, on a GPU that it does not "
    "name.",
)
OWN_VALIDATION = (
    "A tenth of the training rows validates, and the test rows are read once; the "
    "document validates on its test rows."
)
NOTICE = (
    "The documented data (IMDb's 25,000 + 25,000 film reviews) could not be fetched "
    "from the Hugging Face hub, so kbert's bundled sample of invented reviews is used: "
    "its figures say nothing about the documented ones. Name your copy with --data "
    "FOLDER."
)


Augment = Literal["none", "drop", "swap", "both"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The recipe's own flags."""

    augment: Augment | None = None  # train on a copy of each text too, words changed
    views: int | None = None  # of each text to predict and average; else the stage's
    memory: bool = False  # measure what batches of 8, 16 and 32 texts need

    def __post_init__(self) -> None:
        """Refuse a prediction of nothing."""
        cli.require_at_least(self, "views", 1)


def load_imdb(flags: Flags) -> Material:
    """Read the reviews; a tenth of those to train on is kept to validate with.

    Args:
        flags: `data` is a folder with `train.parquet` and `test.parquet` (or `.csv`,
            `.tsv`, `.jsonl`), columns `text` and `label`, or the first of them; `None`
            takes the hub's where they can be had, else the bundled sample. `limit` is
            of each file. `as_documented` validates on the test rows.

    Returns:
        Train, validation and test.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the files are not as they should be.
    """
    stems = {"train": "test"}
    if flags.data is not None:
        places, words, notice = find_files(flags.data, stems), str(flags.data), None
    elif (found := find_hub_dataset(REPOSITORY)) is not None:
        places, words = Places(found["train"], found["test"]), f"the hub's {REPOSITORY}"
        notice = None
    else:
        places, words = find_files(SAMPLE, stems), "kbert's bundled sample"
        notice = NOTICE
    return build_material(
        places,
        flags,
        words=words,
        notice=notice,
        num_documented=NUM_DOCUMENTED,
        validates_on_test=flags.as_documented,
    )
