"""The messages of the spam recipe: where they are found, and how long they are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbert.data import Splits, load_splits
from kbert.recipes.experiment import Claim, Material
from kbert.recipes.flags import Flags
from kbert.recipes.sources import SAMPLES, find_hub_dataset

REPOSITORY = "ucirvine/sms_spam"
SAMPLE = SAMPLES / "spam"
FILES = ("spamdata_v2.csv", "SMSSpamCollection", "spam.csv")
# Of the document's file, and of the collection that it was made from.
DOCUMENTED_ROWS = (5_572, 5_574)
LABEL_NAMES = (("0", "1"), ("ham", "spam"))  # as the files have them
LABEL_WORDS = ("ham", "spam")  # as people read them
NOTICE = (
    "The documented data (the SMS Spam Collection, 5,572 messages) was not found, so "
    "kbert's bundled sample of invented messages is used: its figures say nothing "
    "about the documented ones. Name your copy with --data FILE."
)
DUPLICATES = (
    "The document says that it drops duplicates, but its 836 test messages are 15 % of "
    "all 5,572, so it kept them; they are kept here too, and some messages that are "
    "measured are copies of some that were trained on."
)
REMARKS = (
    "The document names no batch size and no weight decay; 32 and 0.01 are taken.",
    DUPLICATES,
    "The head's hidden layer starts from Keras's usual weights (Glorot), the "
    "document's from those of torch.nn.Linear. A batch's weighted loss is its sum over "
    "the number of messages, in the document over the sum of their weights.",
)
DOCUMENTED_LENGTHS = (
    "The document counts 1 to 162 words, most often 6 (308 messages), most rarely 66 "
    "(1 message); as the longest of all messages has 171, it seems to have counted in "
    "the training part of its own split."
)
# Source: what the document prints of its words, and the support in its table.
_CUT = (
    "in the document's own cut of the rows; --seed 216 cuts them so that it comes out"
)
STUDY = tuple(
    Claim(name, value, name, None, note)
    for name, value, note in (
        ("fewest words of a message", 1, ""),
        ("most words of a message", 162, _CUT),
        ("commonest number of words", 6, ""),
        ("messages of that number", 308, _CUT),
        ("messages of the rarest number", 1, ""),
        ("test messages, ham", 724, ""),
        ("test messages, spam", 112, ""),
    )
)


@dataclass(frozen=True)
class LengthStudy:
    """How many words texts have.

    Args:
        shortest: fewest words.
        longest: most words.
        commonest: number of words that most texts have, and how many have it.
        rarest: numbers of words that the fewest texts have, and how many have each.
    """

    shortest: int
    longest: int
    commonest: tuple[int, int]
    rarest: tuple[tuple[int, ...], int]

    def to_figures(self) -> dict[str, float]:
        """Name the figures as the document's claims do."""
        return {
            "fewest words of a message": self.shortest,
            "most words of a message": self.longest,
            "commonest number of words": self.commonest[0],
            "messages of that number": self.commonest[1],
            "messages of the rarest number": self.rarest[1],
        }

    def describe(self) -> str:
        """Put the study into a sentence."""
        words, count = self.commonest
        rare, times = self.rarest
        shown = ", ".join(map(str, rare[:12])) + (", …" if len(rare) > 12 else "")
        return (
            f"A training message has {self.shortest} to {self.longest} words, most "
            f"often {words} ({count:,} messages), most rarely {shown} (each {times:,})."
        )


def study_lengths(texts: Sequence[str]) -> LengthStudy:
    """Count the words of texts, as white space parts them.

    Args:
        texts: at least one.

    Returns:
        The study.
    """
    counts = Counter(len(text.split()) for text in texts)
    fewest = min(counts.values())
    rarest = sorted(length for length, count in counts.items() if count == fewest)
    return LengthStudy(
        shortest=min(counts),
        longest=max(counts),
        commonest=counts.most_common(1)[0],
        rarest=(tuple(rarest), fewest),
    )


def load_spam(flags: Flags) -> Material:
    """Read the messages and cut them 70 : 15 : 15, each class alike.

    Args:
        flags: `data` is a file with the columns `label` and `text`, the collection's
            own `SMSSpamCollection`, or a folder with one of them; `None` takes the
            hub's where it can be had, else the bundled sample.

    Returns:
        Train, validation and test.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not as it should be.
    """
    data, place, notice = flags.data, str(flags.data), None
    if data is None:
        data, place = find_hub_dataset(REPOSITORY), f"the hub's {REPOSITORY}"
    if data is None:
        data, place, notice = SAMPLE, "kbert's bundled sample", NOTICE
    splits = load_splits(
        **_find_source(data),
        validation=0.15,
        test=0.15,
        drop=("nulls", "blanks"),
        seed=flags.seed,
        limit=flags.limit,
    )
    if splits.label_names not in LABEL_NAMES:
        raise ValueError(
            f"column 'label' of {place} must hold 0 and 1, or ham and spam; received "
            f"{', '.join(splits.label_names[:5])}. Write 1 for what nobody asked for."
        )
    num_rows = sum(map(len, splits.parts.values()))
    study, test = study_lengths(splits.train.texts), splits.parts["test"]
    num_spam = int(np.asarray(test.labels).sum())
    is_documented = notice is None and num_rows in DOCUMENTED_ROWS
    return Material(
        splits=splits,
        words=place,
        notice=notice,
        is_documented=is_documented,
        label_words=LABEL_WORDS,
        figures={
            **study.to_figures(),
            "test messages, ham": len(test) - num_spam,
            "test messages, spam": num_spam,
        },
        sentences=[
            _describe_balance(splits),
            study.describe(),
            *([DOCUMENTED_LENGTHS, DUPLICATES] if is_documented else []),
        ],
    )


def _find_source(data: Any) -> dict[str, Any]:
    """Return where the messages are and how to read them, for `load_splits`."""
    if not isinstance(data, Path):
        return {"source": data, "text": "sms"}
    if data.is_dir():
        found = [data / name for name in FILES if (data / name).is_file()]
        if not found:
            raise FileNotFoundError(
                f"folder {data} has no {' and no '.join(FILES)}. Name the file itself."
            )
        data = found[0]
    if data.suffix in ("", ".txt"):  # as it was published: no header, tabs
        return {"source": data, "delimiter": "\t", "columns": ("label", "text")}
    return {"source": data}


def _describe_balance(splits: Splits) -> str:
    labels = [np.asarray(part.labels) for part in splits.parts.values()]
    num_rows, num_spam = sum(map(len, labels)), sum(int(part.sum()) for part in labels)
    return (
        f"{num_spam:,} of {num_rows:,} messages ({num_spam / num_rows:.1%}) are spam; "
        f"balanced, one counts as much as {num_rows / num_spam - 1:.1f} others."
    )
