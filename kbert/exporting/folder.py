"""A folder that is written whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CARD = "README.md"
# Everything at the top of a folder that an export of any format writes.
EXPORTED = {
    CARD,
    "backbone",
    "config.json",
    "merges.txt",
    "model.keras",
    "model.onnx",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
}
# Every file below: those of a KerasHub preset.
EXPORTED_DEEPER = {
    "backbone/assets/tokenizer/merges.txt",
    "backbone/assets/tokenizer/vocabulary.json",
    "backbone/assets/tokenizer/vocabulary.txt",
    "backbone/config.json",
    "backbone/metadata.json",
    "backbone/model.weights.h5",
    "backbone/tokenizer.json",
}


@contextlib.contextmanager
def write_whole(out: Path, overwrite: bool) -> Iterator[Path]:
    """Let a block fill a folder beside `out` that takes its place once it is whole.

    Args:
        out: folder to write; its parents are made.
        overwrite: whether an earlier export may be replaced.

    Yields:
        The folder to fill.

    Raises:
        FileExistsError: `out` is a file, or a folder that holds something else.
        OSError: it cannot be written; what was there before is untouched.
    """
    check_free(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield temporary
        _allow_reading(temporary)
        _replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse a place that holds something already.

    Only what an export wrote, and nothing but that, is ever replaced: the folder named
    may be a run, or hold every file of its user.

    Args:
        out: folder to write.
        overwrite: whether an earlier export may be replaced.

    Raises:
        FileExistsError: `out` is a file, or a folder that holds something else.
    """
    if not out.is_dir():
        if out.exists():
            raise FileExistsError(f"{out} is a file; name a folder to write.")
        return
    if Path.cwd().is_relative_to(out.resolve()):
        raise FileExistsError(
            f"{out} is the folder that you are in, or holds it; name one of its own."
        )
    held = sorted(path.name for path in out.iterdir())
    if not held:
        return
    if not overwrite:
        raise FileExistsError(
            f"{out} holds files already; choose another folder, or pass "
            "overwrite=True (--overwrite) to replace an earlier export."
        )
    others = [name for name in held if name not in EXPORTED]
    if not others:
        inner = (path for path in out.glob("*/**/*") if not path.is_dir())
        names = {path.relative_to(out).as_posix() for path in inner}
        others = sorted(names - EXPORTED_DEEPER)
    if not others and not _is_card(out / CARD):
        others = held
    if others:
        raise FileExistsError(
            f"{out} holds {', '.join(others[:3])}{', …' if len(others) > 3 else ''}, "
            "which no export wrote, and overwrite=True (--overwrite) replaces earlier "
            "exports alone; choose another folder."
        )


def _is_card(path: Path) -> bool:
    """Whether a file is the model card of an export."""
    try:
        start = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    metadata = start.removeprefix("---\n").partition("\n---\n")[0]
    return start.startswith("---\n") and '\ntags: ["kbert",' in f"\n{metadata}"


def write_json(path: Path, values: Any) -> None:
    """Write JSON as people read it.

    Args:
        path: file to write.
        values: what JSON has a form for.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _replace(temporary: Path, out: Path) -> None:
    """Put a whole folder in the place of another, which stays until then."""
    if not out.exists():
        os.rename(temporary, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    try:
        os.rename(out, old / out.name)
        try:
            os.rename(temporary, out)
        except OSError:
            os.rename(old / out.name, out)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _allow_reading(folder: Path) -> None:
    """Give a temporary folder the permissions that a new one would have."""
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
