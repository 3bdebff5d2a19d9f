"""kbert.data: spreadsheets, as openpyxl reads them, or one sentence without it."""

import builtins
import io
import sys
import zipfile

import pandas as pd
import pytest

from kbert.data import find_columns, load_split, load_splits

ROWS = {
    "review": ["what a film", "NA", 42, "dull"],
    "stars": [5, 1.0, 5, "1"],
    "when": pd.to_datetime(["2020-01-01"] * 4),
}


def write_book(path, **sheets):
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, rows in sheets.items():
            pd.DataFrame(rows).to_excel(book, sheet_name=name, index=False)
    return path


def refusal(path):
    with pytest.raises(ValueError) as caught:
        load_splits(path)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and str(path) in message
    return message


def test_a_spreadsheet_is_read(tmp_path):
    path = write_book(tmp_path / "a.xlsx", reviews=ROWS)
    columns = find_columns(path)
    assert (columns.text, columns.label) == ("review", "stars")
    splits = load_splits(path, text="review", label="stars")
    assert splits.train.texts == ["what a film", "NA", "42", "dull"]
    assert splits.label_names == ("1", "5") and not splits.notes
    assert splits.train.column("when")[0].year == 2020
    with pytest.raises(ValueError, match="did you mean 'review'"):
        load_split(path, text="reviews")


def test_the_first_sheet_is_read_and_said(tmp_path):
    path = write_book(tmp_path / "a.xlsx", one=ROWS, two={"x": [1]})
    (note,) = load_split(path, text="review").notes
    assert "2 sheets" in note and "'one'" in note


def test_empty_cells_are_null(tmp_path):
    path = write_book(
        tmp_path / "a.xlsx", s={"text": ["a", None, "b"], "label": [1, 0, 1]}
    )
    assert load_splits(path).findings.nulls.count == 1


def test_damaged_and_other_spreadsheets_are_refused(tmp_path):
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"PK\3\4 and more")
    assert "as a spreadsheet" in refusal(path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.txt", "x")
    path.write_bytes(content.getvalue())
    assert "save the sheet as CSV" in refusal(path)


def test_without_openpyxl_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"PK\3\4 and more")
    real = builtins.__import__

    def fail(name, *arguments, **keywords):
        if name.partition(".")[0] == "openpyxl":
            raise ImportError("No module named 'openpyxl'", name="openpyxl")
        return real(name, *arguments, **keywords)

    for module in [m for m in sys.modules if m.startswith("openpyxl")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", fail)
    assert "pip install openpyxl, or save the sheet as CSV" in refusal(path)
    for name in ("b.xls", "b.ods"):
        (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0 and more")
        assert "save it as .xlsx" in refusal(tmp_path / name)
