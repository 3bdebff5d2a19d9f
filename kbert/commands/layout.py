"""Flags that say how files of rows are read; several commands have them."""

from dataclasses import dataclass, field
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How files are laid out, where that cannot be told."""

    delimiter: str | None = None  # character between a file's fields; else by its name
    encoding: str | None = None  # of text files; else utf-8
    quoting: bool = False  # quotes enclose fields, also where tabs part them
    no_quoting: bool = False  # quotes are mere characters
    columns: str | None = None  # names, a,b,c, of a file whose first line has none

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.quoting and self.no_quoting:
            raise ValueError("--quoting and --no-quoting exclude each other; pass one.")

    def to_reading(self) -> dict[str, Any]:
        """Return what was given, as `kbert.load_splits` takes it."""
        given: dict[str, Any] = {"delimiter": self.delimiter, "encoding": self.encoding}
        if self.quoting or self.no_quoting:
            given["quoting"] = self.quoting
        if self.columns is not None:
            given["columns"] = tuple(name.strip() for name in self.columns.split(","))
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class LabelLayout(Layout):
    """How files of labelled texts are laid out."""

    separator: str | None = None  # between the labels of a row; else one of ; | ,

    def to_reading(self) -> dict[str, Any]:
        """Return what was given, as `kbert.load_splits` takes it."""
        given = {} if self.separator is None else {"separator": self.separator}
        return super().to_reading() | given


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows for a trained model, which are read as those it was trained on."""

    run: Positional[str]  # folder that kbert train wrote
    file: Positional[str]  # rows to read
    text: str | None = None  # column of the texts; else as in training
    text_pair: str | None = None  # column of the second texts; else as in training
    threshold: float | None = None  # probability to decide from; else as in training
    layout: Layout = field(default_factory=Layout)

    def to_arguments(self) -> dict[str, Any]:
        """Return what was given, as the Python call of the command takes it."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        reading = given.pop("layout").to_reading()
        return given | reading
