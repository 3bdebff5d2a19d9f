"""`kbert predict`: add predictions to a table of texts."""

import sys
from dataclasses import dataclass

from tyro.conf import Positional

from kbert import cli
from kbert.commands.layout import Rows
from kbert.commands.output import print_json, reserving


@dataclass(frozen=True, kw_only=True)
class Flags(Rows):
    """Add the predictions of a trained model to a table of texts."""

    file: Positional[str]  # CSV, TSV, JSON lines or Parquet; -: texts, one a line
    out: str | None = None  # file to write, in the same format; else standard output
    batch_size: int = 32  # texts a batch
    int8: bool = False  # multiply in 8 bits on a CPU, and say what that changes
    json: bool = False  # print one JSON object: counts, or the rows without --out

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        cli.require_at_least(self, "batch_size", 1)


def run(flags: Flags) -> None:
    """Predict as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.runs import predict

    given = flags.to_arguments()
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
