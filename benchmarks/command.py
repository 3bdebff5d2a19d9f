"""The flags that the scripts share."""

import argparse
import sys
from pathlib import Path

from benchmarks.encoders import EMBEDDED
from benchmarks.records import RESULTS
from benchmarks.workloads import CLASSIFY, SOURCES

QUICK_PRESET = "tiny-random"


def build_parser(
    description: str, *, repeats: int | None = 3
) -> argparse.ArgumentParser:
    """Return a parser with what every script has.

    Args:
        description: the script's docstring.
        repeats: default of `--repeats`; `None` for a script that has no such flag.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    if repeats:
        add("--repeats", type=count, default=repeats, help="timed runs of each side")
    add("--quick", action="store_true", help="tiny sizes, no record: does it start?")
    add("--results", type=Path, help="folder for the record, even when quick")
    return parser


def add_model_flags(
    parser: argparse.ArgumentParser, *, workload: str, all_tasks: bool = False
) -> None:
    """Add what scripts have that run an encoder.

    Args:
        parser: of `build_parser`.
        workload: default of `--workload`.
        all_tasks: whether the script also knows workloads that are not classified.
    """
    add = parser.add_argument
    add(
        "--workload",
        choices=tuple(SOURCES) if all_tasks else CLASSIFY,
        default=workload,
    )
    add("--preset", help="preset, folder, or NAME-random; default the embedded one")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    add("--batch-size", type=count, default=32, help="texts a step")
    add("--max-length", type=count, help="tokens, instead of the workload's own")
    add("--num-layers", type=count, help="of a random encoder, instead of its own")


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None
) -> argparse.Namespace:
    """Parse, and fill in what depends on other flags; `--quick` makes all small."""
    args = parser.parse_args(argv)
    args.argv = without_paths(argv)
    if args.results is None and not args.quick:
        args.results = RESULTS
    if args.quick and hasattr(args, "repeats"):
        args.repeats = min(args.repeats, 2)
    if hasattr(args, "preset"):
        args.preset = args.preset or (QUICK_PRESET if args.quick else EMBEDDED)
        if args.quick and hasattr(args, "batch_size"):
            args.batch_size = min(args.batch_size, 4)
            args.max_length = min(args.max_length or 64, 64)
    return args


def without_paths(argv: list[str] | None) -> list[str]:
    """Return the flags for the record, which must not tell where files are kept.

    Args:
        argv: the flags; `None` means those of this process.
    """
    given = sys.argv[1:] if argv is None else argv
    return [Path(one).name if Path(one).is_absolute() else one for one in given]


def task_options(args: argparse.Namespace) -> dict:
    """Return the flags as arguments of `tasks.build_task`."""
    names = ("workload", "preset", "batch_size", "device", "precision")
    names += ("max_length", "num_layers")
    limit = 200 if args.quick else None
    return {name: getattr(args, name) for name in names} | {"limit": limit}


def count(text: str) -> int:
    """Read a flag's number of something, which must be 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; received {value}")
    return value
