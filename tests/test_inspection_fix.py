"""Cleaned files: what is written, what stays as it was, and the log that undoes it."""

import csv
import gzip
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_preset

import kbert
from kbert.data.files import Reading, read_file
from kbert.inspection.fixing import LOG_COLUMNS

NAMES = {"text": "text", "label": "label"}
FIXED_CHARACTERS = "ab\"',;é \n\r\x07ÃœÂ\u202e\0"


def fix(path, out, inspected=None, **options):
    given = {"preset": build_preset(), "languages": False, **(inspected or {})}
    given = {**NAMES, **given}
    return kbert.inspect(path, **given).fix(out, **options)


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_log(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == LOG_COLUMNS
        return list(reader)


def write_file(path, frame: pd.DataFrame) -> None:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".tsv":
        rows = [frame.columns, *frame.astype(str).values]
        path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".jsonl":
        records = frame.to_dict("records")
        lines = [
            json.dumps(record, ensure_ascii=i % 2 == 0)
            for i, record in enumerate(records)
        ]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    else:
        frame.to_parquet(path, row_group_size=3)


FRAME = pd.DataFrame(
    {
        "id": range(7),
        "text": ["a film", "cafÃ©", "", "a film", "nul\x07, x", 'say "no"', "café"],
        "note": ["1,0", "x", "  y", "é", 'q"', "", "last"],
        "label": ["p", "n", "p", "p", "n", "p", "n"],
    }
)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_cleaned_file_has_the_rows_that_are_left(tmp_path, ending):
    path, out = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    write_file(path, FRAME)
    before = digest(path)
    fixed = fix(path, out)
    assert digest(path) == before
    assert (fixed.num_rows, fixed.num_dropped, fixed.num_repaired) == (4, 3, 2)
    table, *_ = read_file(out, Reading())
    assert table.column_names == ["id", "text", "note", "label"]
    assert table.column("id").to_pylist() == [0, 1, 4, 5]
    assert table.column("text").to_pylist() == ["a film", "café", "nul, x", 'say "no"']
    whys = {int(e["row"]): e["why"].partition(":")[0] for e in read_log(fixed.log)}
    assert whys.pop(2) in ("nulls", "blanks")  # an empty cell of a CSV file is null
    # Row 6 repeats row 1 only once that is repaired.
    assert whys == {
        1: "mojibake",
        3: "duplicates",
        4: "odd_characters",
        6: "duplicates",
    }
    again = kbert.inspect(out, **NAMES, preset=build_preset(), languages=False)
    assert {f.kind for f in again.findings} <= {"few_rows", "unknown_tokens"}


def test_the_line_that_excel_writes_first_stays(tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_text("sep=;\ntext;label\na film;p\na film;p\na plot;n\n", "utf-8")
    assert fix(path, out).num_dropped == 1
    assert out.read_text("utf-8") == "sep=;\ntext;label\na film;p\na plot;n\n"


def test_rows_that_are_kept_keep_their_bytes(tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    lines = [
        b"\xef\xbb\xbfid,text,label,note\r\n",
        b'1,"a film",p,""\r\n',
        b"2,caf\xc3\x83\xc2\xa9,n, 1.50\r\n",
        b"\r\n",
        b'3,"two\nlines, ""quoted""",p,"x"\n',
        b'4,"a film",p,"kept? no"\n',
        b'5,"tidy"ed,n,007',
    ]
    path.write_bytes(b"".join(lines))
    fix(path, out)
    lines[2] = "2,café,n, 1.50\r\n".encode()
    assert out.read_bytes() == b"".join(lines[:5] + lines[6:])


def test_json_lines_keep_numbers_and_escapes(tmp_path):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        '{"n": 1.50, "text": "caf\\u00c3\\u00a9", "label": "p", "o": [1, 20]}',
        '{"text": "b\\u0065d", "label":"n" , "n": 1e3, "o": [2]}',
        "",
        '{"text": "bed", "label":"n", "n": 2, "o": []}',
    ]
    path.write_text("\n".join(lines), "utf-8")
    fix(path, out)
    lines[0] = lines[0].replace("caf\\u00c3\\u00a9", "café")
    assert out.read_text("utf-8") == "\n".join(lines[:3]) + "\n"


def test_parquet_keeps_types_nested_columns_and_compression(tmp_path):
    from pyarrow import parquet

    path, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    frame = FRAME.assign(vector=[[float(i)] for i in range(7)])
    frame["label"] = frame["label"].astype("category")
    frame.to_parquet(path, compression="gzip")
    fix(path, out)
    before, after = parquet.read_table(path), parquet.read_table(out)
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after.column("vector").to_pylist() == [[0.0], [1.0], [4.0], [5.0]]
    columns = parquet.ParquetFile(out).metadata.row_group(0)
    assert columns.column(0).compression == "GZIP"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "utf-8-sig"])
def test_the_encoding_stays(tmp_path, encoding):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    text = "text,label\ncafé,p\ncafé,p\nthé\x07,n\n"
    path.write_text(text, encoding)
    fix(path, out, {"encoding": encoding})
    assert out.read_bytes() == "text,label\ncafé,p\nthé,n\n".encode(encoding)


def test_files_without_header_and_with_other_delimiters(tmp_path):
    path, out = tmp_path / "in.txt", tmp_path / "out.txt"
    path.write_bytes(b'ham|"a|b"|1\nham|c\x07|2\nspam|c|3\nham|c|4\n')
    read = {"columns": ["label", "text", "n"], "delimiter": "|"}
    fix(path, out, read)
    assert out.read_bytes() == b'ham|"a|b"|1\nham|c|2\nspam|c|3\n'


def test_compressed_files_are_fixed_unpacked(tmp_path):
    path, out = tmp_path / "in.csv.gz", tmp_path / "out.csv"
    path.write_bytes(gzip.compress(b"text;label\na film;p\na film;p\nb;n\n"))
    fix(path, out)
    assert out.read_bytes() == b"text;label\na film;p\nb;n\n"


def test_leaks_leave_the_training_file(tmp_path):
    for part, texts in (("train", ["a", "b", "c"]), ("test", ["b", "z"])):
        labels = ["p", "n", "p"][: len(texts)]
        frame = pd.DataFrame({"text": texts, "label": labels})
        frame.to_csv(tmp_path / f"{part}.csv", index=False)
    fixed = fix(tmp_path, tmp_path / "clean.csv")
    assert pd.read_csv(fixed.path)["text"].tolist() == ["a", "c"]
    assert read_log(fixed.log)[0]["before"] == "b,n"


def test_what_is_dropped_and_repaired_can_be_chosen(tmp_path):
    path = tmp_path / "in.csv"
    write_file(path, FRAME)
    fixed = fix(path, tmp_path / "none.csv", drop=(), repair=())
    assert fixed.path.read_bytes() == path.read_bytes()
    assert read_log(fixed.log) == []
    fixed = fix(path, tmp_path / "one.csv", drop="duplicates", repair="odd_characters")
    assert {entry["row"] for entry in read_log(fixed.log)} == {"3", "4"}


def test_conflicts_and_findings_can_be_dropped(tmp_path):
    path = tmp_path / "in.csv"
    texts = ["a film", "a film", "zz yy", "the film is good , and so was the plot"]
    texts.append(texts[-1].replace("plot", "story"))
    write_file(path, pd.DataFrame({"text": texts, "label": list("pnpnp")}))
    kinds = ("conflicts", "unknown_tokens", "near_duplicates")
    options = {"near_duplicates": 0.5}
    fixed = fix(path, tmp_path / "out.csv", options, drop=kinds)
    log = read_log(fixed.log)
    assert [e["why"].partition(":")[0] for e in log] == [
        "conflicts",
        "conflicts",
        "unknown_tokens",
        "near_duplicates",
    ]


# === The log undoes it ===

cells = st.text(FIXED_CHARACTERS, max_size=8)
tables = st.lists(
    st.tuples(cells, cells, st.sampled_from(["p", "n"])), min_size=2, max_size=12
)


def undo(rows: list[dict[str, str]], log: list[dict[str, str]], parse) -> list:
    """Apply a log from its last entry to its first."""
    dropped = sorted(int(e["row"]) for e in log if not e["column"])
    rows = list(rows)
    for row in dropped:
        (entry,) = [e for e in log if e["row"] == str(row) and not e["column"]]
        rows.insert(row, parse(entry["before"]))
    for entry in reversed(log):
        if entry["column"]:
            row = rows[int(entry["row"])]
            assert row[entry["column"]] == entry["after"]
            row[entry["column"]] = entry["before"]
    return rows


@settings(max_examples=40, deadline=None)
@given(table=tables, ends=st.sampled_from(["\n", "\r\n"]), as_json=st.booleans())
def test_the_log_undone_gives_the_input(tmp_path_factory, table, ends, as_json):
    folder = tmp_path_factory.mktemp("undo")
    frame = pd.DataFrame(table, columns=["text", "note", "label"])
    if as_json:
        path, out = folder / "in.jsonl", folder / "out.jsonl"
        lines = [json.dumps(record) for record in frame.to_dict("records")]
        path.write_text(ends.join(lines), "utf-8", newline="")
    else:
        path, out = folder / "in.csv", folder / "out.csv"
        frame = frame.map(lambda cell: cell.replace("\0", ""))
        frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL, lineterminator=ends)
    before = digest(path)
    try:
        fixed = fix(path, out, {"near_duplicates": None})
    except ValueError as error:
        assert "leaves no row" in str(error)
        assert not out.exists() and len(list(folder.iterdir())) == 1
        return
    assert digest(path) == before
    if as_json:
        rows = [
            json.loads(line) for line in out.read_text("utf-8").splitlines() if line
        ]
        undone = undo(rows, read_log(fixed.log), json.loads)
    else:
        with out.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))

        def parse(record: str) -> dict[str, str]:
            fields = next(csv.reader([record], strict=True))
            return dict(zip(["text", "note", "label"], fields, strict=True))

        undone = undo(rows, read_log(fixed.log), parse)
    assert undone == frame.to_dict("records")


# === Bad input ===


def test_inputs_are_never_written(tmp_path):
    path = tmp_path / "in.csv"
    write_file(path, FRAME)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    found = kbert.inspect(path, **NAMES, preset=build_preset(), languages=False)
    for place in (path, link):
        with pytest.raises(ValueError, match="is one of the inputs"):
            found.fix(place, overwrite=True)
    other = tmp_path / "x.csv.log.csv"
    write_file(other, FRAME)
    found = kbert.inspect(other, **NAMES, preset=build_preset(), languages=False)
    with pytest.raises(ValueError, match="is one of the inputs"):
        found.fix(tmp_path / "x.csv", overwrite=True)


@pytest.mark.parametrize(
    ("out", "options", "error", "sentence"),
    [
        ("out.jsonl", {}, ValueError, r"name it \*\.csv, not 'out\.jsonl'"),
        ("no/out.csv", {}, FileNotFoundError, "there is no folder"),
        ("out.csv", {"drop": "duplicate"}, ValueError, "did you mean 'duplicates'"),
        ("out.csv", {"repair": ["case"]}, ValueError, "repair has no kind 'case'"),
        ("there.csv", {}, FileExistsError, "exists; pass overwrite=True"),
    ],
)
def test_bad_output_is_refused_and_leaves_nothing(
    tmp_path, out, options, error, sentence
):
    path = tmp_path / "in.csv"
    write_file(path, FRAME)
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(error, match=sentence):
        fix(path, tmp_path / out, **options)
    assert {p.name for p in tmp_path.iterdir()} == {"in.csv", "there.csv"}
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_file_that_changed_meanwhile_is_refused(tmp_path):
    path = tmp_path / "in.csv"
    write_file(path, FRAME)
    found = kbert.inspect(path, **NAMES, preset=build_preset(), languages=False)
    write_file(path, FRAME[:5])
    with pytest.raises(ValueError, match="has changed since; inspect it again"):
        found.fix(tmp_path / "out.csv")


def test_rows_in_memory_cannot_be_fixed(tmp_path):
    found = kbert.inspect(FRAME, **NAMES, preset=build_preset(), languages=False)
    with pytest.raises(ValueError, match="read from memory; write them to a CSV"):
        found.fix(tmp_path / "out.csv")


def test_overwriting_is_asked_for(tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write_file(path, FRAME)
    fix(path, out)
    fixed = fix(path, out, overwrite=True)
    assert str(fixed).startswith(
        f"Wrote {out}: 4 rows; 3 left out and 2 texts repaired"
    )
    assert np.all([p.suffix == ".csv" for p in tmp_path.iterdir()])
