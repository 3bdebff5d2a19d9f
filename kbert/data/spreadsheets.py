"""Read the first sheet of a spreadsheet into an Arrow table."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kbert.data.encodings import first_line

if TYPE_CHECKING:
    from kbert.data.files import Reading

SPREADSHEET_SUFFIXES = (".xlsx", ".xlsm")
OTHER_SPREADSHEETS = (".xls", ".xlsb", ".ods", ".numbers")


def read_spreadsheet(
    path: Path, reading: "Reading"
) -> tuple[pa.Table, str, tuple[str, ...]]:
    """Read the first sheet; its first row holds the columns' names.

    Args:
        path: a file that is not empty.
        reading: columns wanted; their cells become strings, `5.0` becomes `"5"`.

    Returns:
        The table, the format in words, and what was chosen, a sentence each.

    Raises:
        ValueError: the file is damaged, or the package openpyxl is missing.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles that openpyxl does not know
            with pd.ExcelFile(path, engine="openpyxl") as book:
                sheets = [str(name) for name in book.sheet_names]
                frame = book.parse(
                    0, dtype=object, keep_default_na=False, na_values=[""]
                )
    except ImportError:
        raise ValueError(
            f"{path} is a spreadsheet, for which kbert needs openpyxl: pip install "
            "openpyxl, or save the sheet as CSV."
        ) from None
    except Exception as error:  # whatever openpyxl meets in a damaged file
        raise ValueError(
            f"cannot read {path} as a spreadsheet: {first_line(error)}; save the sheet "
            "as CSV."
        ) from None
    columns = [
        _to_arrow(frame.iloc[:, place].tolist(), str(name) in reading.wanted)
        for place, name in enumerate(frame.columns)
    ]
    table = pa.table(columns, names=[str(name) for name in frame.columns])
    notes: tuple[str, ...] = ()
    if len(sheets) > 1:
        notes = (
            f"{path.name} has {len(sheets)} sheets; the first, {sheets[0]!r}, is read: "
            "save another as a file of its own to read that.",
        )
    return table, "spreadsheet", notes


def _to_arrow(values: list[Any], as_text: bool) -> pa.Array:
    """Keep a type that all cells share; numbers among words become words."""
    values = [None if value != value else value for value in values]
    if not as_text:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):
            pass
    return pa.array([None if v is None else _spell(v) for v in values], pa.string())


def _spell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
