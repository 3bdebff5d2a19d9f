"""`kbert inspect`: find out what is wrong with a file of texts, and write it without.

The cleaned file has the input's format; beside it lies a log of every change. The exit
code is 0 whatever was found.
"""

import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from kbert import cli
from kbert.commands.layout import LabelLayout
from kbert.commands.output import print_json

if TYPE_CHECKING:
    from kbert.inspection import Inspection
    from kbert.inspection.fixing import Fixed


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Find out what is wrong with a file of texts; nothing is trained."""

    file: Positional[Path]  # texts with labels, or a folder with train.csv and others
    text: str | None = None  # column of the texts; else the one that can only be it
    label: str | None = None  # column of the labels, or of 0 and 1: a,b; else likewise
    text_pair: str | None = None  # column of the second texts of pairs
    task: str | None = None  # classify, multilabel, tag, ...; else found
    unlabelled: bool = False  # there is no column of labels
    validation: Path | None = None  # file of its own; else the folder's, if any
    test: Path | None = None  # file of its own; else the folder's, if any
    preset: str | None = None  # whose tokens are counted; else the embedded one
    max_length: int | None = None  # tokens read of a text; else as the encoder reads
    check_labels: bool = False  # rank rows by how likely their label is wrong
    fix: Path | None = None  # write the cleaned file here, and a log beside it
    drop: str | None = None  # rows --fix leaves out; else nulls,blanks,duplicates,leaks
    repair: str | None = None  # what --fix repairs; else mojibake,odd_characters
    overwrite: bool = False  # replace files that --fix has written before
    seed: int = 42  # of hash functions, samples and folds
    json: bool = False  # print one JSON object, with every row number
    layout: LabelLayout = field(default_factory=LabelLayout)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        cli.require_at_least(self, "max_length", 3)
        cli.require_at_least(self, "seed", 0)
        for name in ("drop", "repair", "overwrite"):
            if getattr(self, name) and self.fix is None:
                raise ValueError(
                    f"--{name} says how --fix writes the cleaned file; give --fix FILE "
                    "too."
                )


def run(flags: Flags) -> None:
    """Inspect as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.inspection import inspect
    from kbert.inspection.fixing import check_wanted

    if flags.fix is not None:
        check_wanted(flags.file, flags.fix, **_list_kinds(flags))
    found = inspect(
        flags.file,
        text=flags.text,
        label=flags.label,
        task=flags.task,
        unlabelled=flags.unlabelled,
        text_pair=flags.text_pair,
        validation=flags.validation,
        test=flags.test,
        preset=flags.preset,
        check_labels=flags.check_labels,
        max_length=flags.max_length,
        seed=flags.seed,
        **flags.layout.to_reading(),
    )
    if not flags.json:
        print(found)
    fixed = None if flags.fix is None else _fix(found, flags.fix, flags)
    if flags.json:
        print_json({**found.to_json(), "fixed": fixed})


def _fix(found: "Inspection", path: Path, flags: Flags) -> "Fixed":
    """Write the cleaned file, and say so."""
    fixed = found.fix(path, **_list_kinds(flags))
    words = textwrap.fill(
        str(fixed), 80, break_long_words=False, break_on_hyphens=False
    )
    print(f"\n{words}", file=sys.stderr if flags.json else sys.stdout)
    return fixed


def _list_kinds(flags: Flags) -> dict[str, Any]:
    """Return how to fix, as `Inspection.fix` takes it."""
    chosen = {"drop": flags.drop, "repair": flags.repair}
    kinds = {k: _split(v) for k, v in chosen.items() if v is not None}
    return {"overwrite": flags.overwrite, **kinds}


def _split(kinds: str) -> tuple[str, ...]:
    """Read names with commas between them; `none` stands for none."""
    names = tuple(name.strip() for name in kinds.split(","))
    return () if names == ("none",) else names
