"""Parts of data that are no table of texts and labels: read, limited and cut."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from kbert.data.encodings import check_decodes, choose_encoding
from kbert.data.files import suggest
from kbert.data.findings import NUM_EXAMPLES, Example, Finding, Findings
from kbert.data.shares import read_requests

PARTS = ("train", "validation", "test")
_STEMS = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev", "testa"),
    "test": ("test", "testb"),
}
_SHOWN_CHARACTERS = 80
# With fewer groups than this, a share of them is not near a share of the rows.
_LEAST_GROUPS = 10


class TaskPart(Protocol):
    """What rows of any task can do."""

    name: str

    @property
    def texts(self) -> list[str]:
        """A text a row, to show it by."""

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the rows in their source."""

    @property
    def groups(self) -> np.ndarray:
        """Number of the document that each row is of."""

    @property
    def keys(self) -> list[tuple[Hashable, Hashable]]:
        """What makes two rows the same, without and with their labels."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def take(self, rows: np.ndarray) -> Self:
        """Return some rows."""


@dataclass(frozen=True)
class TaskSplits:
    """The parts of a task's data; see `kbert.Splits`, whose fields these are.

    Args:
        train: rows to train on.
        validation: rows to choose a model with, or `None`.
        test: rows to measure it on, once, or `None`.
        label_names: names of the labels in id order.
        findings: what is wrong with the rows; nothing is dropped.
        source: what was read, in words.
        digest: SHA-256 (hexadecimal) of the bytes that were read.
    """

    train: Any
    validation: Any
    test: Any
    label_names: tuple[str, ...]
    findings: Findings
    source: str
    digest: str

    @property
    def parts(self) -> dict[str, Any]:
        """The parts there are, by name, in the order train, validation, test."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


# === Sources ===


def find_sources(
    source: Any, validation: Any, test: Any, suffixes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Fraction]]:
    """Tell which parts have a source of their own and which are a share of train.

    Args:
        source: of all rows or of train; a folder may hold several parts.
        validation: a share, a source or `None`. A folder's own part comes first.
        test: the same.
        suffixes: endings of the files to look for in a folder.

    Returns:
        Part name to source, and part name to share.

    Raises:
        FileNotFoundError: a folder has no train file.
        ValueError: a share is out of range.
    """
    sources = {"train": source}
    if isinstance(source, str | Path) and Path(source).is_dir():
        sources = _find_files(Path(source), suffixes)
    shares, others = read_requests(validation, test, own=sources)
    return sources | others, shares


def _find_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Any]:
    found = {}
    for part, stems in _STEMS.items():
        paths = [folder / f"{stem}{end}" for stem in stems for end in suffixes]
        existing = [path for path in paths if path.is_file()]
        if existing:
            found[part] = existing[0]
    if "train" not in found:
        held = sorted(path.name for path in folder.iterdir())[:20]
        raise FileNotFoundError(
            f"the folder {folder} has no train{suffixes[0]} (nor "
            f"{', '.join(suffixes[1:])}); it holds {', '.join(held) or 'nothing'}. "
            "Pass the file itself."
        )
    return found


def read_text(path: Path, encoding: str | None = None) -> tuple[str, str]:
    """Read a whole text file.

    Args:
        path: of the file.
        encoding: of its text; `None`: UTF-8, or UTF-16 with a byte order mark.

    Returns:
        Its text, line ends as they are, and its bytes' SHA-256 (hexadecimal).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty or no text in this encoding.
    """
    if not path.is_file():
        folder = path.parent
        names = [one.name for one in folder.iterdir()] if folder.is_dir() else []
        raise FileNotFoundError(f"there is no file {path}{suggest(path.name, names)}")
    codec, _ = choose_encoding(path, encoding)
    check_decodes(path, codec)
    content = path.read_bytes()
    text = content.decode(codec).removeprefix("\ufeff")
    if not text.strip():
        raise ValueError(f"{path} is empty; pass a file with rows.")
    return text, hashlib.sha256(content).hexdigest()


def read_lines(path: Path, encoding: str | None = None) -> tuple[Iterator[str], str]:
    """Read the lines of a text file; see `read_text`."""
    text, digest = read_text(path, encoding)
    return (line.rstrip("\r") for line in text.split("\n")), digest


# === Cutting ===


def cut(
    part: Any, shares: Mapping[str, Fraction], seed: int, limit: int | None
) -> dict[str, Any]:
    """Cut shares off a part, document by document.

    What comes of one document (an article, a news story) stays together, so that no
    part holds what another was trained on; where there are few documents, rows are cut.

    Args:
        part: all rows.
        shares: part name to its share of the rows.
        seed: of the draw.
        limit: most rows to use, drawn at random; `None` uses all.

    Returns:
        Part name to its rows, in their order; `train` holds the others.

    Raises:
        ValueError: a part would have no row.
    """
    part = draw(part, limit, seed)
    groups = np.unique(part.groups, return_inverse=True)[1]
    if len(np.unique(groups)) < _LEAST_GROUPS:
        groups = np.arange(len(part))
    order = np.random.default_rng(seed).permutation(len(np.unique(groups)))
    sizes = np.bincount(groups)[order]
    middles = np.cumsum(sizes) - sizes / 2  # a document goes where its middle lies
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    parts, taken = {}, Fraction(0)
    for name in ("test", "validation"):
        if name in shares:
            start, stop = taken * len(part), (taken + shares[name]) * len(part)
            chosen = (middles > float(start)) & (middles <= float(stop))
            parts[name], taken = chosen[rank[groups]], taken + shares[name]
    parts["train"] = ~np.any([*parts.values(), np.zeros(len(part), bool)], axis=0)
    for name, rows in parts.items():
        if not rows.any():
            raise ValueError(
                f"{len(part):,} rows of {len(order):,} documents leave none for "
                f"{name}; pass more rows, or other shares."
            )
    return {name: part.take(np.flatnonzero(rows)) for name, rows in parts.items()}


def draw(part: Any, limit: int | None, seed: int) -> Any:
    """Return `limit` rows drawn at random, in their order; all for `None`.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit is None or limit >= len(part):
        return part
    if limit < 1:
        raise ValueError(f"limit must be at least 1; received {limit}.")
    rows = np.random.default_rng(seed).permutation(len(part))[:limit]
    return part.take(np.sort(rows))


def load_parts(
    sources: Mapping[str, Any],
    shares: Mapping[str, Fraction],
    read: Callable[[Any], tuple[Any, str, str]],
    seed: int,
    limit: int | None,
) -> tuple[dict[str, Any], str, str]:
    """Read all sources and cut the shares off train.

    Args:
        sources: part name to source.
        shares: part name to its share of train.
        read: takes a source; returns its rows, what it is in words, and its digest.
        seed: of the draws.
        limit: most rows of each source; `None` uses all.

    Returns:
        Part name to rows, what was read in words, and the digest of it all.
    """
    read_ = {name: read(source) for name, source in sources.items()}
    parts = {name: draw(one[0], limit, seed) for name, one in read_.items()}
    parts |= cut(parts["train"], shares, seed, None)
    words = [
        one[1] if name == "train" else f"{name}: {one[1]}"
        for name, one in read_.items()
    ]
    digests = [one[2] for one in read_.values()]
    joined = hashlib.sha256("".join(digests).encode()).hexdigest()
    digest = digests[0] if len(digests) == 1 else joined
    return parts, "; ".join(words), digest


def assemble(
    parts: Mapping[str, Any], label_names: tuple[str, ...], source: str, digest: str
) -> TaskSplits:
    """Make splits of parts, with what is wrong with their rows."""
    return TaskSplits(
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts.get("test"),
        label_names=label_names,
        findings=find_spoiled(parts),
        source=source,
        digest=digest,
    )


# === Findings ===


def find_spoiled(parts: Mapping[str, TaskPart]) -> Findings:
    """Find rows that repeat or contradict earlier ones, and leaks between parts.

    Args:
        parts: by name, in any order.

    Returns:
        Duplicates, conflicts and leaks, as `kbert.load_splits` finds them; all kept.
    """
    keys = {name: part.keys for name, part in parts.items()}
    found = Findings()
    later: set[Hashable] = set()
    for name in reversed([name for name in PARTS if name in parts]):
        labels = defaultdict(set)
        for key, label in keys[name]:
            labels[key].add(label)
        seen: set[Hashable] = set()
        rows: dict[str, list[int]] = {"duplicates": [], "conflicts": [], "leaks": []}
        for row, (key, label) in enumerate(keys[name]):
            if (key, label) in seen:
                rows["duplicates"].append(row)
            if len(labels[key]) > 1:
                rows["conflicts"].append(row)
            if key in later:
                rows["leaks"].append(row)
            seen.add((key, label))
        later |= set(labels)
        found = (
            Findings(**{k: _describe(parts[name], r) for k, r in rows.items()}) + found
        )
    return found


def _describe(part: TaskPart, rows: list[int]) -> Finding:
    first = part.take(np.array(rows[:NUM_EXAMPLES], np.int64))
    examples = tuple(
        Example(part.name, int(row), text[:_SHOWN_CHARACTERS])
        for row, text in zip(first.rows, first.texts, strict=True)
    )
    return Finding(len(rows), 0, examples)
