"""`kbert evaluate`: measure a trained model on labelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import Positional

from kbert import cli
from kbert.commands.layout import Layout
from kbert.commands.output import print_json, reserving


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Measure a trained model on labelled texts."""

    run: Positional[str]  # folder that kbert train wrote
    file: Positional[str]  # labelled texts that the model has not seen
    text: str | None = None  # column of the texts; else as in training
    label: str | None = None  # column of the labels; else as in training
    text_pair: str | None = None  # column of the second texts; else as in training
    limit: int | None = None  # use the first rows only
    batch_size: int = 32  # texts a batch
    json: bool = False  # print one JSON object with the figures
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        for name in ("limit", "batch_size"):
            cli.require_at_least(self, name, 1)


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: its flags.

    Returns:
        Exit code.
    """
    return cli.run_recipe(Flags, run, argv, prog="kbert evaluate")


def run(flags: Flags) -> None:
    """Measure as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.runs import evaluate

    given = {name: value for name, value in vars(flags).items() if value is not None}
    given |= given.pop("layout").to_reading()
    is_json = given.pop("json")
    with reserving(is_json):
        figures = evaluate(given.pop("run"), given.pop("file"), **given)
    if is_json:
        print_json(figures)
    else:
        print(f"{figures['num_examples']:,} rows of {figures.split}\n\n{figures}")
