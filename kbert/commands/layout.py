"""Flags that say how files of rows are laid out; several commands have them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How files are laid out, where that cannot be told."""

    delimiter: str | None = None  # character between a file's fields; else by its name
    encoding: str | None = None  # of text files; else utf-8
    quoting: bool = False  # quotes enclose fields, also where tabs part them
    no_quoting: bool = False  # quotes are mere characters

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.quoting and self.no_quoting:
            raise ValueError("--quoting and --no-quoting exclude each other; pass one.")

    def to_reading(self) -> dict[str, Any]:
        """Return what was given, as `kbert.load_splits` takes it."""
        given: dict[str, Any] = {"delimiter": self.delimiter, "encoding": self.encoding}
        if self.quoting or self.no_quoting:
            given["quoting"] = self.quoting
        return {name: value for name, value in given.items() if value is not None}
