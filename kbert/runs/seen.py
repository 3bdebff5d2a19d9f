"""Which rows a model was trained on: small hashes of their texts."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from kbert.report import RunFolder

SEEN_FILE = "seen.npy"
# 160 kB. Of more rows those with the lowest hashes are kept: a sample by content.
_MOST_HASHES = 20_000


def write_seen(folder: RunFolder, train: Any) -> None:
    """Write hashes of the rows that a model was trained on.

    Args:
        folder: of the run.
        train: those rows, of any task.
    """
    hashes = np.unique(_hash_rows(train))
    is_whole = len(hashes) <= _MOST_HASHES
    last = np.iinfo(np.uint64).max if is_whole else hashes[_MOST_HASHES - 1]
    with folder.replacing(SEEN_FILE) as path:
        # The last value says up to which hash the list is complete.
        np.save(path, np.append(hashes[:_MOST_HASHES], last), allow_pickle=False)


def describe_seen(folder: Path, part: Any, name: str) -> str | None:
    """Say how many rows a model was trained on, if there are any.

    Args:
        folder: of the run.
        part: rows to measure it on.
        name: of them.

    Returns:
        A sentence; `None` where none is known to be.
    """
    kept = _read_seen(folder / SEEN_FILE)
    if kept is None:
        return None
    known, last = kept[:-1], kept[-1]
    hashes = _hash_rows(part)
    found = np.isin(hashes, known)
    if not found.any():
        return None
    count = f"{found.sum():,} of {len(hashes):,} rows"
    if last < np.iinfo(np.uint64).max:
        share = found.sum() / (hashes <= last).sum()
        count = f"about {share:.1%} of {len(hashes):,} rows"
    return (
        f"{count} of {name} have texts that this model was trained on, so the figures "
        "are too good; measure it on others."
    )


def _read_seen(path: Path) -> np.ndarray | None:
    """Read what was written; `None` where nothing is known."""
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # not kept yet when the run was trained, or damaged
    is_sound = kept.dtype == np.uint64 and kept.ndim == 1 and len(kept)
    return kept if is_sound else None


def _hash_rows(part: Any) -> np.ndarray:
    """Hash the texts of each row, uint64 (n,)."""
    sides = [part.texts]
    if getattr(part, "text_pairs", None) is not None:
        sides.append(part.text_pairs)
    rows = ("\0".join(row) for row in zip(*sides, strict=True))
    digests = (
        hashlib.blake2b(row.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for row in rows
    )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
