"""`kbert predict`: add predictions to a table of texts."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import Positional

from kbert import cli
from kbert.commands.layout import Layout
from kbert.commands.output import print_json, reserving


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Add the predictions of a trained model to a table of texts."""

    run: Positional[str]  # folder that kbert train wrote
    file: Positional[str]  # CSV, TSV, JSON lines or Parquet; -: texts, one a line
    out: str | None = None  # file to write, in the same format; else standard output
    text: str | None = None  # column of the texts; else as in training
    text_pair: str | None = None  # column of the second texts; else as in training
    batch_size: int = 32  # texts a batch
    int8: bool = False  # multiply in 8 bits on a CPU, and say what that changes
    json: bool = False  # print one JSON object: counts, or the rows without --out
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        cli.require_at_least(self, "batch_size", 1)


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: its flags.

    Returns:
        Exit code.
    """
    return cli.run_recipe(Flags, run, argv, prog="kbert predict")


def run(flags: Flags) -> None:
    """Predict as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.runs import predict

    given = {name: value for name, value in vars(flags).items() if value is not None}
    given |= given.pop("layout").to_reading()
    is_json = given.pop("json")
    given["quantize"] = "int8" if given.pop("int8") else None
    out = given.pop("out", None if is_json else "-")
    with reserving(is_json):
        found = predict(given.pop("run"), given.pop("file"), out, **given)
    if is_json and out is None:
        rows = found.astype(object).where(found.notna(), None).to_dict("records")
        print_json({"num_rows": len(rows), "rows": rows})
    elif is_json:
        print_json(vars(found))
    elif out != "-":
        print(f"Wrote {found.num_rows:,} rows to {found.path}", file=sys.stderr)
