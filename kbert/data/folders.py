"""Find the parts that a data set comes in: files of a folder, entries of a mapping."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbert.data.files import SUFFIXES
from kbert.data.opening import COMPRESSIONS

PARTS = ("train", "validation", "test")
_FILE_STEMS = {"train": ("train",), "validation": ("validation", "val", "dev")}
_ENDINGS = (*SUFFIXES, *(a + b for a in SUFFIXES for b in COMPRESSIONS))
_LISTED_FILES = 20  # names shown in an error


def find_parts(source: Any) -> dict[str, Any]:
    """Find the parts that a source comes in.

    Args:
        source: anything `read_source` takes, or a mapping (`datasets.DatasetDict`) or
            folder that holds `train` and perhaps `validation` and `test`.

    Returns:
        Part name to its source; a source of one part is the `train` part.

    Raises:
        FileNotFoundError: a folder has no train file.
        ValueError: a mapping has no `train`.
    """
    if isinstance(source, Mapping):
        if "train" not in source:
            raise ValueError(
                "a mapping of splits needs 'train'; received the keys "
                f"{', '.join(map(repr, source))}."
            )
        return {part: source[part] for part in PARTS if part in source}
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir() and path.suffix.lower() not in SUFFIXES:
            return _find_files(path)
    return {"train": source}


def _find_files(folder: Path) -> dict[str, Path]:
    found = {}
    for part in PARTS:
        stems = _FILE_STEMS.get(part, (part,))
        paths = [folder / f"{stem}{end}" for stem in stems for end in _ENDINGS]
        existing = [path for path in paths if path.is_file()]
        if existing:
            found[part] = existing[0]
    if "train" not in found:
        held = sorted(path.name for path in folder.iterdir())[:_LISTED_FILES]
        raise FileNotFoundError(
            f"the folder {folder} has no train.csv (nor .tsv, .jsonl or .parquet); it "
            f"holds {', '.join(held) or 'nothing'}. Pass the file itself."
        )
    return found
