"""Records: one JSON file a measurement, never changed afterwards."""

import json
import shlex
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.workloads import ROOT

RESULTS = ROOT / "benchmarks" / "results"
SCHEMA = 1
# What every record has; STYLE: the command repeats it, the rest says what to expect.
REQUIRED = (
    "schema",
    "benchmark",
    "variant",
    "command",
    "commit",
    "dirty",
    "utc",
    "device",
    "driver",
    "cpu",
    "versions",
    "config",
    "warmup_steps",
    "timed_steps",
    "samples_seconds",
    "examples_per_second",
    "peak_memory_bytes",
    "quality",
    "result",
)


def build_record(
    benchmark: str, variant: str, result: dict, args: Namespace, **fields
) -> dict:
    """Put a result together with what it was measured on.

    Args:
        benchmark: name of the script.
        variant: what was compared, for the file's name.
        result: the script's own object: what it prints last.
        args: the script's flags, of `command.parse`.
        **fields: those of `REQUIRED` that the benchmark has; the others are `None`.
    """
    config = fields.get("config") or {}
    machine = describe_machine(config.get("device") or "cpu")
    own = {
        "schema": SCHEMA,
        "benchmark": benchmark,
        "variant": variant,
        "command": f"python -m benchmarks.{benchmark} {shlex.join(args.argv)}".strip(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    shared = ("versions", "device", "commit")
    about = {name: machine[name] for name in shared}
    about |= {"cpu_features": machine["cpu"]["features"]}
    empty = dict.fromkeys(REQUIRED)
    return empty | own | machine | fields | {"result": result | about}


def finish(record: dict, results: Path | None) -> dict:
    """Write the record, unless it is not wanted, and print its result last.

    Args:
        record: of `build_record`.
        results: folder, or `None` to write nothing.

    Returns:
        The result.
    """
    if results is not None:
        print(f"record: {write_record(record, results)}")
    print(json.dumps(record["result"]), flush=True)
    return record["result"]


def write_record(record: dict, folder: Path) -> Path:
    """Write a record to a file of its own; nothing is ever overwritten."""
    missing = [name for name in REQUIRED if name not in record]
    if missing:
        raise ValueError(f"the record lacks {', '.join(missing)}; see REQUIRED.")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1) + "\n"
    stem = _name(record)
    for number in range(1, 1000):
        path = folder / f"{stem}{f'_{number}' if number > 1 else ''}.json"
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
            return path
        except FileExistsError:
            continue
    raise RuntimeError(f"{folder} has 999 records named {stem}; name another folder.")


def read_records(folder: Path = RESULTS) -> list[dict]:
    """Read all records, oldest first."""
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
    ]
    return sorted(records, key=lambda record: (record["utc"], record["variant"]))


def _name(record: dict) -> str:
    """Name a record as 2025-01-31_training_tweets-trainer_epyc_bfloat16_0123456."""
    config = record["config"] or {}
    commit = (record["commit"] or "nocommit")[:7]
    parts = (
        record["utc"][:10],
        record["benchmark"],
        record["variant"],
        _shorten(record["device"]),
        config.get("dtype") or "any",
        commit + ("-dirty" if record["dirty"] else ""),
    )
    return "_".join(part.replace("_", "-") for part in parts)


def _shorten(device: str) -> str:
    letters = "".join(c if c.isalnum() else "-" for c in device.lower())
    return "-".join(part for part in letters.split("-") if part)[:40]
