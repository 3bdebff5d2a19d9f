"""`kbert export`: write a trained model for other libraries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tyro.conf import Positional

from kbert import cli


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Write a trained model for other libraries."""

    run: Positional[str]  # folder that kbert train wrote, or a .keras file
    format: Literal["huggingface", "onnx", "safetensors", "keras"]  # for whom
    out: str  # folder to write
    int8: bool = False  # onnx: round to 8 bits, and say what that changes
    examples: str | None = None  # labelled texts to measure that on; else the run's
    text: str = "text"  # column of the examples' texts
    label: str | None = None  # column of the examples' labels
    overwrite: bool = False  # replace a folder that holds something
    json: bool = False  # print one JSON object


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: its flags.

    Returns:
        Exit code.
    """
    return cli.run_recipe(Flags, run, argv, prog="kbert export")


def run(flags: Flags) -> None:
    """Export as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.exporting import export

    examples: Any = None
    if flags.examples is not None:
        from kbert.data import load_split

        examples = load_split(flags.examples, text=flags.text, label=flags.label)
    out = export(
        flags.run,
        flags.format,
        flags.out,
        int8=flags.int8,
        examples=examples,
        overwrite=flags.overwrite,
    )
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    size = sum((out / file).stat().st_size for file in files)
    if flags.json:
        written = {"out": str(out), "format": flags.format, "files": files}
        print(json.dumps({**written, "bytes": size}, ensure_ascii=False))
        return
    listed = ", ".join(files)
    print(f"Wrote {out} ({flags.format}, {size / 1e6:.1f} MB): {listed}")
