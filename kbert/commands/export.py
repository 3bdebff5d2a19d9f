"""`kbert export`: write a trained model for other libraries."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from kbert.commands.layout import Layout
from kbert.commands.output import print_json


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Write a trained model for other libraries."""

    run: Positional[str]  # folder that kbert train wrote, or a .keras file
    format: Literal["huggingface", "onnx", "safetensors", "keras"]  # for whom
    out: str  # folder to write
    int8: bool = False  # onnx: round to 8 bits, and say what that changes
    examples: str | None = None  # labelled texts to measure that on; else the run's
    text: str | None = None  # column of the examples' texts; else as in training
    text_pair: str | None = None  # column of their second texts; else likewise
    label: str | None = None  # column of the examples' labels; else likewise
    overwrite: bool = False  # replace a folder that an earlier export wrote
    json: bool = False  # print one JSON object
    layout: Layout = field(default_factory=Layout)


def run(flags: Flags) -> None:
    """Export as the flags say.

    Args:
        flags: of the command.
    """
    from kbert.exporting.export import write_export

    out = Path(flags.out)
    source: Any = flags.run
    examples = None
    if flags.examples is not None:
        source, examples = _read_examples(flags)
    notes = write_export(
        source,
        flags.format,
        out,
        int8=flags.int8,
        examples=examples,
        overwrite=flags.overwrite,
    )
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    size = sum((out / file).stat().st_size for file in files)
    if flags.json:
        written = {"out": out, "format": flags.format, "files": files, "bytes": size}
        print_json({**written, "notes": notes})
        return
    listed = ", ".join(files)
    print(f"Wrote {out} ({flags.format}, {size / 1e6:.1f} MB): {listed}")


def _read_examples(flags: Flags) -> tuple[Any, Any]:
    """Return what to export, and labelled texts: as the run's own were, or as named."""
    reading = flags.layout.to_reading()
    if Path(flags.run).is_dir():
        from kbert.runs import load_run

        run = load_run(flags.run)
        request = run.request(
            flags.examples,
            text=flags.text,
            text_pair=flags.text_pair,
            label=flags.label,
            reading=reading,
        )
        return flags.run, run.task.read(request)
    from kbert.data import load_split
    from kbert.exporting.comparison import TOKEN_TASKS
    from kbert.models import load_model
    from kbert.tasks import Request, find_task
    from kbert.tasks.task import PAIRED

    model = load_model(flags.run, compile=False)
    if model.task in TOKEN_TASKS:
        request = Request(
            source=flags.examples,
            text=flags.text,
            label=flags.label,
            label_names=model.label_names,
            reading=reading,
        )
        return model, find_task(model.task).read(request)
    if model.metadata.get(PAIRED) and flags.text_pair is None:
        raise ValueError(
            f"{flags.run} reads pairs of texts; name the column of the second ones: "
            "--text-pair."
        )
    return model, load_split(
        flags.examples,
        text=flags.text or "text",
        text_pair=flags.text_pair,
        label=flags.label,
        **reading,
    )
