"""kbert.data: reading any source, checking rows, naming classes, splitting."""

import csv
import hashlib
import json
import logging
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbert.data import (
    Example,
    Finding,
    Findings,
    Split,
    Splits,
    load_split,
    load_splits,
)
from kbert.data.cut import sample_rows, split_sizes
from kbert.data.labels import sort_names

TEXTS = ["fire", "flood", "sun", "rain", "quake", "picnic", "storm", "party"]
LABELS = [1, 1, 0, 0, 1, 0, 1, 0]


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file of this name and return its path."""

    def write_file(name, content):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        path.write_bytes(data)
        return path

    return write_file


def csv_of(texts=TEXTS, labels=LABELS, header="text,label"):
    rows = "".join(f"{t},{y}\n" for t, y in zip(texts, labels, strict=True))
    return f"{header}\n{rows}"


def refusal(call, *args, error=ValueError, **kwargs):
    """Return the one-line message with which a call is refused."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?"))
    return message


# === Formats ===


def as_csv(folder):
    (folder / "a.csv").write_text(csv_of())
    return folder / "a.csv"


def as_tsv(folder):
    (folder / "a.tsv").write_text(csv_of().replace(",", "\t"))
    return str(folder / "a.tsv")


def as_json_lines(folder):
    rows = (
        {"text": t, "label": y, "more": [1]} for t, y in zip(TEXTS, LABELS, strict=True)
    )
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "a.jsonl"


def as_parquet(folder):
    as_frame(folder).to_parquet(folder / "a.parquet", row_group_size=3)
    return folder / "a.parquet"


def as_frame(folder):
    return pd.DataFrame({"text": TEXTS, "label": LABELS}, index=range(8, 0, -1))


def as_object_frame(folder):
    return pd.DataFrame(
        {
            "text": np.array(TEXTS, object),
            "label": pd.Categorical(LABELS),
            "any": [object()] * 8,
        }
    )


def as_dataset(folder):
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})


def as_shuffled_dataset(folder):
    datasets = pytest.importorskip("datasets")
    order = [3, 1, 0, 2, 7, 6, 5, 4]
    shuffled = datasets.Dataset.from_dict(
        {"text": [TEXTS[i] for i in order], "label": [LABELS[i] for i in order]}
    )
    return shuffled.select(np.argsort(order))


def as_dict(folder):
    return {"train": (TEXTS, LABELS)}


def as_tuple(folder):
    return (TEXTS, LABELS)


def as_arrays(folder):
    return (np.array(TEXTS), np.array(LABELS))


def as_series(folder):
    frame = as_frame(folder)
    return (frame["text"], frame["label"])


def as_arrow(folder):
    return pa.table({"text": TEXTS, "label": LABELS})


SOURCES = [as_csv, as_tsv, as_json_lines, as_parquet, as_frame, as_object_frame]
SOURCES += [as_dataset, as_shuffled_dataset, as_dict, as_tuple, as_arrays, as_series]
SOURCES += [as_arrow]


@pytest.mark.parametrize("make", SOURCES)
def test_every_source_gives_the_same_rows(make, tmp_path):
    splits = load_splits(make(tmp_path))
    assert isinstance(splits, Splits)
    assert splits.train.texts == TEXTS
    assert splits.train.labels.tolist() == LABELS
    assert splits.train.labels.dtype == np.int32
    assert splits.label_names == ("0", "1")
    assert splits.validation is None and splits.test is None
    assert len(splits.digest) == 64
    assert splits.source


def test_torch_labels_are_read():
    torch = pytest.importorskip("torch")
    split = load_split((TEXTS, torch.tensor(LABELS)))
    assert split.labels.tolist() == LABELS


def test_pairs_in_memory_are_read():
    split = load_split((["a", "b"], ["c", None], ["x", "y"]))
    assert split.text_pairs == ["c", ""]
    assert split.to_pandas().columns.tolist() == [
        "text",
        "text_pair",
        "label",
        "label_name",
        "row",
    ]


def test_texts_alone_are_unlabelled():
    for source in (["a", "b"], (["a", "b"], None), (iter("ab"), None)):
        split = load_split(source)
        assert (split.texts, split.labels, split.num_classes) == (["a", "b"], None, 0)


def test_dataset_dict_names_its_classes_and_unlabels_minus_one(caplog):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["z", "a"]),
        }
    )
    train = {"text": TEXTS, "label": LABELS}
    test = {"text": ["x", "y"], "label": [-1, -1]}
    source = datasets.DatasetDict(
        train=datasets.Dataset.from_dict(train, features=features),
        test=datasets.Dataset.from_dict(test, features=features),
    )
    splits = load_splits(source, validation=0.25)
    assert splits.label_names == ("z", "a")
    assert len(splits.train) == 6 and len(splits.validation) == 2
    assert splits.test.labels is None
    assert "no labels" in caplog.text


def test_folder_gives_its_parts(write, tmp_path):
    write("train.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}')
    write("dev.csv", "text,label\nc,y\n")
    write("test.csv", "text,label\nd,x\n")
    splits = load_splits(tmp_path)
    assert [part.texts for part in splits.parts.values()] == [["a", "b"], ["c"], ["d"]]
    assert splits.validation.labels.tolist() == [1]


# === Text as it stands ===


def test_words_that_look_like_nulls_are_texts(write):
    words = ["NA", "null", "None", "nan", "N/A", "", "#N/A", "-"]
    split = load_split(write("a.csv", csv_of(words)), label="label")
    assert split.texts == words


def test_only_an_unquoted_empty_cell_is_null(write):
    path = write("a.csv", 'label,text\n0,\n1,""\n0," "\n1,a\n')
    findings = load_splits(path).findings
    assert [e.row for e in findings.nulls.examples] == [0]
    assert [e.row for e in findings.blanks.examples] == [1, 2]
    assert load_split(path).texts == ["", "", " ", "a"]


def test_newlines_and_quotes_inside_fields_survive(write):
    path = write("a.csv", 'text,label\r\n"two\nlines, ""said"" she",1\r\n5" nail,0\r\n')
    assert load_split(path).texts == ['two\nlines, "said" she', '5" nail']


def test_a_row_larger_than_arrows_default_block_is_read(write):
    long = "word " * 600_000
    assert load_split(write("a.csv", f'text\n"{long}"\nb\n')).texts == [long, "b"]
    line = json.dumps({"text": long})
    assert load_split(write("a.jsonl", f"{line}\n{line}\n")).texts == [long, long]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(
            st.one_of(
                st.characters(exclude_characters="\0", exclude_categories=("Cs",)),
                st.sampled_from('",\r\n\t'),
            )
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_survives_csv_json_lines_and_parquet(texts):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("a.csv", "a.jsonl", "a.parquet")]
        with paths[0].open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
        paths[1].write_text("\n".join(lines), encoding="utf-8", newline="\n")
        pq.write_table(pa.table({"text": texts}), paths[2])
        for path in paths:
            assert load_split(path).texts == texts


def test_tsv_takes_quotes_as_characters_unless_told(write):
    path = write("a.tsv", 'text\tlabel\n"hi\t1\nho"\t0\n')
    assert load_split(path).texts == ['"hi', 'ho"']
    path = write("b.tsv", 'text\tlabel\n"a\tb"\t1\nc\t0\n')
    assert load_split(path, quoting=True).texts == ["a\tb", "c"]
    assert "quoting=True" in refusal(load_split, path)


def test_headerless_files_and_other_delimiters_are_read(write):
    path = write("SMS", "ham\thi there\nspam\tWIN\n")
    split = load_split(path, label="label", delimiter="\t", columns=("label", "text"))
    assert split.texts == ["hi there", "WIN"]
    assert split.label_names == ("ham", "spam")
    path = write("b.csv", "text;label\na, b;1\n")
    assert load_split(path, delimiter=";").texts == ["a, b"]


def test_other_columns_keep_leading_zeros_of_labels_only_where_they_are_labels(write):
    path = write("a.csv", "text,label,id\na,007,7\nb,010,8\n")
    split = load_split(path, label="label")
    assert split.label_names == ("007", "010")
    assert split.column("id") == [7, 8]


def test_json_dates_stay_texts(write):
    lines = '{"text": "2020-01-01", "label": "x"}\n' * 2
    assert load_split(write("a.jsonl", lines)).texts == ["2020-01-01"] * 2


def test_wide_parquet_columns_are_not_read(tmp_path):
    vectors = pa.array([[0.5] * 4] * 2)
    table = pa.table({"text": ["a", "b"], "vector": vectors, "raw": [b"\xff", b""]})
    pq.write_table(table, tmp_path / "a.parquet")
    split = load_split(tmp_path / "a.parquet")
    assert "It has text." in refusal(split.column, "vector")


# === Encodings ===


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_byte_order_marks_are_skipped(write, name):
    content = "text,label\né,1\n" if name == "a.csv" else '{"text": "é", "label": 1}\n'
    path = write(name, b"\xef\xbb\xbf" + content.encode())
    for encoding in ("utf-8", "utf-8-sig", "UTF8"):
        assert load_split(path, label="label", encoding=encoding).texts == ["é"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "shift-jis"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_named_encodings_are_read(write, name, encoding):
    text = "テスト" if encoding == "shift-jis" else "café £1"
    content = {"a.csv": f"text\n{text}\n", "a.tsv": f"text\n{text}\n"}.get(
        name, json.dumps({"text": text}, ensure_ascii=False)
    )
    path = write(name, content.encode(encoding))
    assert load_split(path, encoding=encoding).texts == [text]


@pytest.mark.parametrize("column", ["text", "label", "other"])
def test_a_wrong_encoding_names_the_byte_and_the_way_out(write, column):
    row = {"text": "a", "label": "x", "other": "o"} | {column: "é"}
    content = f"text,label,other\nb,y,p\n{','.join(row.values())}\n".encode("latin-1")
    path = write("a.csv", content)
    message = refusal(load_split, path, label="label")
    offset = content.index(b"\xe9")
    assert f"byte {offset} (line 3)" in message and 'encoding="cp1252"' in message


def test_a_wrong_encoding_deep_in_a_large_file_is_located(write):
    content = b"text\n" + b"\xc3\xa9 row\n" * 300_000 + b"\xff\n"
    message = refusal(load_split, write("a.csv", content))
    assert f"byte {content.index(bytes([255])):,} (line 300,002)" in message


def test_wrong_encodings_in_json_and_parquet_are_refused(write, tmp_path):
    path = write("a.jsonl", '{"text": "a"}\n{"text": "é"}\n'.encode("latin-1"))
    assert "(line 2)" in refusal(load_split, path)
    raw = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"text": raw}), tmp_path / "a.parquet")
    assert "not UTF-8 text" in refusal(load_split, tmp_path / "a.parquet")


def test_unnamed_utf16_and_unknown_encodings_are_explained(write):
    path = write("a.csv", "text\na\n".encode("utf-16"))
    message = refusal(load_split, path, encoding="utf-8")
    assert 'pass encoding="utf-16"' in message
    path = write("b.csv", "text\na\n")
    assert "unknown encoding 'utf-9'" in refusal(load_split, path, encoding="utf-9")
    path = write("c.csv", b"text\na\x81\n")
    assert "byte 6" in refusal(load_split, path, encoding="cp1252")


# === Bad files ===


def test_a_missing_file_names_the_nearest(write, tmp_path):
    write("train.csv", csv_of())
    path = tmp_path / "trian.csv"
    message = refusal(load_splits, path, error=FileNotFoundError)
    assert str(path) in message and "did you mean 'train.csv'?" in message
    path = tmp_path / "no" / "train.csv"
    assert "no folder" in refusal(load_splits, path, error=FileNotFoundError)


def test_folders_without_train_or_named_like_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    message = refusal(load_splits, tmp_path, error=FileNotFoundError)
    assert "no train.csv" in message and "notes.txt" in message
    folder = tmp_path / "data.csv"
    folder.mkdir()
    assert "is a folder" in refusal(load_splits, folder)
    assert "is a folder" in refusal(load_split, tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_empty_binary_and_headed_files_are_refused(write, name):
    assert "0 bytes" in refusal(load_splits, write(name, ""))
    garbage = np.random.default_rng(0).bytes(4096)
    assert name in refusal(load_splits, write(name, garbage))
    if name in ("a.csv", "a.tsv"):
        header = write(name, "text\tlabel\n" if name == "a.tsv" else "text,label\n")
        assert "holds no rows" in refusal(load_splits, header)
        assert name in refusal(load_splits, write(name, "\n\n"))


@pytest.mark.parametrize(
    ("magic", "what"), [(b"PAR1", "Parquet"), (b"PK\3\4", "zip"), (b"\x1f\x8b", "gzip")]
)
def test_other_formats_under_a_text_name_are_recognised(write, magic, what):
    assert what in refusal(load_splits, write("a.csv", magic + b"rest"))


def test_unknown_endings_and_misplaced_options_are_refused(write):
    message = refusal(load_splits, write("a.xyz", csv_of()))
    assert "'.xyz'" in message and "delimiter=" in message
    path = write("a.jsonl", '{"text": "a"}')
    assert "columns=" in refusal(load_split, path, columns=("text",))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_than_the_one_named_is_recognised(write, mark):
    rows = f"id{mark}text{mark}label\n1{mark}a, b, c{mark}0\n2{mark}b{mark}1\n"
    for content in (rows, rows.replace(",", "")):  # ragged, and one long column
        path = write("a.csv", content)
        message = refusal(load_splits, path, delimiter=",")
        assert f"separated by {mark!r}, not ','" in message
        assert f"pass delimiter={mark!r} (--delimiter)" in message
    assert len(load_split(path, delimiter=mark)) == 2


def test_a_column_with_marks_in_its_name_is_no_other_delimiter(write):
    path = write("a.csv", "a;text;b\nx\n")
    assert load_split(path, text="a;text;b").texts == ["x"]
    assert "no column 'body'" in refusal(load_split, path, text="body")


def test_bytes_that_are_no_text_leave_no_traceback(write, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    content = b"text,label\n\x8d\xff,1,\xfe\n\x9d\n"
    message = refusal(load_splits, write("a.csv", content))
    assert "not utf-8 text: byte 11 (line 2)" in message and "save it as" in message
    assert not unraisable


@pytest.mark.parametrize(
    ("head", "what", "advice"),
    [
        (b"\x1f\x8b\x08\x00", "a gzip file", "unpack it first"),
        (b"PK\x03\x04", "a zip archive or a spreadsheet", "export the sheet as CSV"),
        (b"PAR1", "a Parquet file", "name it .parquet"),
        (b"%PDF-1.7", "a PDF", "pass a text file"),
    ],
)
def test_a_file_of_another_kind_says_what_to_do(write, head, what, advice):
    message = refusal(load_splits, write("a.csv", head + bytes(20)))
    assert what in message and advice in message


def test_one_class_says_what_to_do(write):
    assert "add rows of another" in refusal(load_splits, (["a", "b"], [1, 1]))
    assert "raise the limit" in refusal(load_splits, (TEXTS, LABELS), limit=1)


def test_ragged_rows_are_numbered_from_0_after_the_header(write):
    path = write("a.csv", "text,label\na,1\nb,c,0\n")
    message = refusal(load_splits, path)
    assert (
        "needs 2 fields a row, but row 1 (line 3) has 3" in message
        and "'b,c,0'" in message
    )
    path = write("b.csv", "a,1\nb\n")
    assert "row 1 (line 2) has 1 ('b')" in refusal(
        load_split, path, columns=("text", "label")
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_an_unclosed_quote_is_refused_wherever_it_opens(write, end):
    first = write("a.csv", f'text,label\na,1\n"b,0\nc,1{end}')
    assert "never closed" in refusal(load_splits, first)
    last = write("b.csv", f'label,text\n1,a\n0,"b\n1,c{end}')
    message = refusal(load_splits, last)
    assert "row 1" in message and "close the quote" in message
    assert load_split(last, quoting=False).texts == ["a", '"b', "c"]
    if end:  # nothing behind the quote but the line's end
        assert "close the quote" in refusal(
            load_split, write("c.csv", f'text\na\n"{end}')
        )


@pytest.mark.parametrize(
    "last",
    ['""', '" "', '"a"', '"a""b"', 'a"', '"x\n"', '"\n"', '"\r\n"', '"\n\n"', '""""'],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_closed_quote_at_the_end_is_no_unclosed_one(write, last, end):
    assert len(load_split(write("a.csv", f"label,text\n1,a\n0,{last}{end}"))) == 2


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"text": "a"}\n{"text": \n', "not JSON in line 2"),
        ('[["a"]]', "holds a list, not an object, in row 0"),
        ('["a"]\n[{"text": "a"}]', "not JSON"),
        (
            '{"text": "a", "label": 1}\n{"text": "b", "label": "1"}',
            "holds 1 (int) in line 1 and '1' (str) in line 2",
        ),
        (
            '[{"text": "a", "label": 1}, {"text": "b", "label": "yes"}]',
            "holds 1 (int) in row 0 and 'yes' (str) in row 1",
        ),
        ('{"text": "a\\ud83d"}\n', "a.jsonl"),
    ],
)
def test_bad_json_lines_are_located(write, lines, words):
    assert words in refusal(load_split, write("a.jsonl", lines), label="label")


def test_odd_objects_are_refused(tmp_path):
    assert "cannot read a builtins.int" in refusal(load_splits, 3)
    assert "needs 'train'" in refusal(load_splits, {"text": ["a"]})
    assert "equally long" in refusal(load_splits, (["a", "b"], [1]))
    assert "(texts, labels)" in refusal(load_splits, ("a.csv", "b.csv"))
    assert "row 1 has 2" in refusal(load_splits, (["a", 2, "c"], [1, 0, 1]))
    assert "row 1 has" in refusal(load_splits, (["a", "\ud83d"], [1, 0]))
    assert "holds no rows" in refusal(load_splits, ([], []))
    assert "holds int64, not text" in refusal(load_splits, ([1, 2], [1, 0]))
    assert "several parts" in refusal(load_split, {"train": 1, "test": 2})


# === Columns ===


def test_a_wrong_column_names_the_nearest_and_lists_all(write):
    path = write("a.csv", csv_of(header="text,target"))
    message = refusal(load_splits, path, label="traget")
    assert "no column 'traget'; did you mean 'target'? It has text, target." in message
    message = refusal(load_splits, path, text="Text", label="zzz")
    assert "did you mean 'text'?" in message
    twice = write("b.csv", csv_of(header="text,text"))
    assert "2 columns named 'text'" in refusal(load_splits, twice, label="text")


def test_long_column_lists_are_cut():
    table = pa.table({f"c{number}": [1] for number in range(50)})
    assert "and 30 more" in refusal(load_split, table)


# === Labels ===


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 2, 1], ("1", "2", "10")),
        (["10", "2", " 1 "], ("1", "2", "10")),
        ([1.0, 0.0, 2.0], ("0", "1", "2")),
        (["1.0", "0", "2.00"], ("0", "1", "2")),
        ([-1, 0, 1], ("-1", "0", "1")),
        (["b", "a", "C"], ("C", "a", "b")),
        (["10", "2", "x"], ("10", "2", "x")),
        (["007", "7", "08"], ("007", "08", "7")),
        ([True, False, True], ("False", "True")),
        (["spam ", "spam", "ham"], ("ham", "spam")),
    ],
)
def test_classes_come_by_value_or_alphabetically(labels, names):
    split = load_split((["a", "b", "c"], labels))
    assert split.label_names == names


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, unique=True))
def test_class_order_does_not_depend_on_row_order(values):
    texts = [f"text {value}" for value in values]
    names = load_split((texts, values)).label_names
    assert names == load_split((texts, values[::-1])).label_names
    assert names == tuple(map(str, sorted(values))) == sort_names(set(names))


def test_fractional_labels_are_refused_with_their_row(write):
    assert "has 0.5 in row 1" in refusal(load_splits, (["a", "b"], [1.0, 0.5]))
    path = write("a.csv", csv_of(labels=[1, 1, 0, 0, "2.5", 0, 1, 0]))
    assert "has 2.5 in row 4" in refusal(load_splits, path)
    assert "has inf" in refusal(load_splits, (["a", "b"], [1.0, float("inf")]))


def test_null_labels_are_refused_or_dropped(write):
    path = write("a.csv", csv_of(labels=[1, 0, "", 0, 1, " ", 0, 1]))
    message = refusal(load_splits, path)
    assert (
        "is null in row 2 (2 rows in all)" in message and 'drop=("nulls",)' in message
    )
    splits = load_splits(path, drop=("nulls",))
    assert splits.train.rows.tolist() == [0, 1, 3, 4, 6, 7]
    assert splits.findings.nulls == load_splits(path, drop="nulls").findings.nulls
    assert (splits.findings.nulls.count, splits.findings.nulls.dropped) == (2, 2)
    assert "is null in row 2" in refusal(load_split, path, label="label")
    assert "null in row 1" in refusal(load_split, (["a", "b"], [1.0, float("nan")]))
    assert "null in row 0" in refusal(load_split, (["a", "b"], [None, None]))


def test_one_class_is_refused(write):
    path = write("a.csv", csv_of(labels=[1] * 8))
    assert "one class only, '1', among the rows;" in refusal(load_splits, path)
    message = refusal(load_splits, (TEXTS, LABELS), limit=1)
    assert "among the rows that limit=1 leaves" in message


def test_texts_named_as_labels_are_refused():
    texts = [f"text {number}" for number in range(3000)]
    assert "3,000 different values" in refusal(load_splits, (texts, texts))


def test_labels_train_never_showed_are_refused_in_other_parts():
    train, other = (TEXTS, LABELS), (["x", "y"], [1, 2])
    for part in ("validation", "test"):
        message = refusal(load_splits, train, **{part: other})
        assert "the label '2' in row 1" in message and "'0', '1'" in message
    splits = load_splits(train, validation=other, label_names=("0", "1", "2"))
    assert splits.validation.labels.tolist() == [1, 2]


def test_a_class_that_a_random_cut_takes_from_train_is_refused():
    labels = ["a", "b"] * 20 + ["rare"]
    texts = [f"text {number}" for number in range(41)]
    for seed in range(200):
        rows = load_split((texts, labels))
        try:
            splits = load_splits(
                (texts, labels), validation=0.2, stratify=False, seed=seed
            )
        except ValueError as error:
            assert "'rare' is in validation" in str(error) and "row 40" in str(error)
            return
        assert set(splits.train.labels) == set(rows.labels)
    pytest.fail("no seed put the rare row into validation")


def test_label_names_are_names_or_ids():
    names = ("ham", "spam")
    assert load_split((["a", "b"], [0, 1]), label_names=names).label_names == names
    reverse = load_split((["a", "b"], ["spam", "ham"]), label_names=("spam", "ham"))
    assert reverse.labels.tolist() == [0, 1]
    stars = load_split((["a", "b"], [5, 1]), label_names=("1", "2", "3", "4", "5"))
    assert stars.labels.tolist() == [4, 0]
    assert "'2' in row 1" in refusal(
        load_split, (["a", "b"], [0, 2]), label_names=names
    )
    assert "twice" in refusal(load_split, (["a"], [0]), label_names=("a", "a"))


# === Findings ===

MESSY = pd.DataFrame(
    {
        "text": ["a", "a", "b", "b", None, " ", "", "c", "d", None, "a", " "],
        "label": [0, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0],
    }
)


def rows_of(finding):
    return [example.row for example in finding.examples]


def test_findings_count_and_name_rows():
    findings = load_splits(MESSY).findings
    assert rows_of(findings.nulls) == [4, 9]
    assert rows_of(findings.blanks) == [5, 6, 11]
    assert rows_of(findings.duplicates) == [1, 10]
    assert rows_of(findings.conflicts) == [2, 3]
    assert findings.leaks == Finding()
    (first, *_) = findings.conflicts.examples
    assert isinstance(first, Example) and first.text == "b"
    assert json.loads(json.dumps(findings.to_json()))["nulls"]["count"] == 2
    assert findings.summary()[0] == (
        "2 rows with no text or no label (first: the DataFrame row 4); kept."
    )
    assert len(findings.summary()) == 4
    assert Findings().summary() == []


@pytest.mark.parametrize(
    ("drop", "rows"),
    [
        (("nulls",), [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]),
        (("blanks",), [0, 1, 2, 3, 4, 7, 8, 9, 10]),
        (("duplicates",), [0, 2, 3, 4, 5, 6, 7, 8, 9, 11]),
        (("conflicts",), [0, 1, 4, 5, 6, 7, 8, 9, 10, 11]),
        (("nulls", "blanks", "duplicates", "conflicts"), [0, 7, 8]),
    ],
)
def test_dropping_leaves_the_other_rows(drop, rows):
    splits = load_splits(MESSY, drop=drop)
    assert splits.train.rows.tolist() == rows
    for kind in ("nulls", "blanks", "duplicates", "conflicts"):
        finding = getattr(splits.findings, kind)
        assert finding.dropped == (finding.count if kind in drop else 0)


def test_examples_are_the_first_twenty_and_short():
    findings = load_splits((["x" * 500] * 60, [0, 1] * 30)).findings
    assert findings.duplicates.count == 58
    assert rows_of(findings.duplicates) == list(range(2, 22))
    assert len(findings.duplicates.examples[0].text) == 80


def test_leaks_are_dropped_from_the_earlier_part():
    parts = {
        "train": (["a", "b", "c", "d", " ", "e"], [0, 1, 0, 1, 0, 1]),
        "validation": (["b", "x", " "], [1, 0, 0]),
        "test": (["c", "x", " "], [0, 0, 0]),
    }
    splits = load_splits(parts)
    assert splits.findings.leaks.count == 3  # b and c in train, x in validation
    assert [len(part) for part in splits.parts.values()] == [6, 3, 3]
    splits = load_splits(parts, drop=("leaks",))
    assert splits.train.texts == ["a", "d", " ", "e"]
    assert splits.validation.texts == ["b", " "]
    assert splits.test.texts == ["c", "x", " "]
    assert splits.findings.leaks.dropped == 3


def test_pairs_repeat_only_as_pairs():
    source = (["a", "a", "a"], ["x", "y", "x"], [0, 1, 0])
    assert rows_of(load_splits(source).findings.duplicates) == [2]
    swapped = (["x", "a"], ["a", "z"], [0, 1])
    assert load_splits(source, test=swapped).findings.leaks.count == 0


def test_an_unlabelled_test_part_keeps_every_row(write, caplog):
    caplog.set_level(logging.INFO, "kbert")
    test = write("test.csv", "id,text\n5,a\n6,a\n7,\n")
    splits = load_splits((TEXTS, LABELS), test=test, drop=("nulls", "duplicates"))
    assert splits.test.column("id") == [5, 6, 7]
    assert splits.findings.duplicates.count == 1
    assert splits.findings.duplicates.dropped == 0
    assert caplog.records[0].levelno == logging.INFO  # as a contest's test file is
    message = refusal(load_splits, (TEXTS, LABELS), validation=test)
    assert "no column 'label'" in message


@pytest.mark.parametrize("header", ["text,Label", "text,label"])
def test_a_test_part_that_may_have_lost_its_labels_is_a_warning(write, caplog, header):
    empty = "" if header.endswith("label") else "1"
    test = write("test.csv", f"{header}\na,{empty}\n")
    assert load_splits((TEXTS, LABELS), test=test).test.labels is None
    assert caplog.records[0].levelno == logging.WARNING


def test_bad_drops_are_refused():
    message = refusal(load_splits, (TEXTS, LABELS), drop=("duplicate",))
    assert "did you mean 'duplicates'?" in message
    same = (["a", "b"], [0, 1])
    assert "drop less" in refusal(load_splits, same, validation=same, drop=("leaks",))
    null = ([None, None], [0, 1])
    assert "leaves no row" in refusal(load_splits, null, drop=("nulls",))


def test_pairs_in_one_part_only_are_refused():
    pairs = (["a", "b"], ["c", "d"], [0, 1])
    assert "neither" in refusal(load_splits, pairs, test=(TEXTS, LABELS))


# === Splitting ===


@pytest.mark.parametrize(
    ("num_rows", "validation", "test", "sizes"),
    [
        (7613, "0.2", "0", (6090, 1523, 0)),
        (5572, "0.15", "0.15", (3900, 836, 836)),
        (25000, "0.1", "0.1", (20000, 2500, 2500)),
        (10, "0.3", "0", (7, 3, 0)),
        (10, "0", "0.3", (7, 0, 3)),
    ],
)
def test_sizes_are_the_documented_ones(num_rows, validation, test, sizes):
    assert split_sizes(num_rows, Fraction(validation), Fraction(test)) == sizes


@settings(max_examples=40, deadline=None)
@given(
    num_rows=st.integers(40, 300),
    num_classes=st.integers(2, 4),
    validation=st.sampled_from([None, 0.1, 0.15, 0.2, 1 / 3]),
    test=st.sampled_from([None, 0.1, 0.25]),
    seed=st.integers(0, 2**32 - 1),
    stratify=st.booleans(),
)
def test_parts_are_disjoint_complete_seeded_and_proportional(
    num_rows, num_classes, validation, test, seed, stratify
):
    labels = np.arange(num_rows) % num_classes
    source = ([f"text {row}" for row in range(num_rows)], labels)
    options = {"validation": validation, "test": test, "seed": seed}
    splits = load_splits(source, **options, stratify=stratify)
    again = load_splits(source, **options, stratify=stratify)
    rows = np.concatenate([part.rows for part in splits.parts.values()])
    assert sorted(rows.tolist()) == list(range(num_rows))
    assert len(splits.train) == int(
        (1 - Fraction(str(validation or 0)) - Fraction(str(test or 0))) * num_rows
    )
    for name, part in splits.parts.items():
        np.testing.assert_array_equal(part.rows, again.parts[name].rows)
        np.testing.assert_array_equal(part.labels, labels[part.rows])
        assert part.texts == [f"text {row}" for row in part.rows]
        if stratify:
            counts = np.bincount(part.labels, minlength=num_classes)
            assert np.ptp(counts) <= 2


def test_another_seed_gives_another_split():
    first = load_splits((TEXTS, LABELS), validation=0.5, seed=1)
    second = load_splits((TEXTS, LABELS), validation=0.5, seed=2)
    assert first.train.rows.tolist() != second.train.rows.tolist()
    assert first.digest == second.digest


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, True, float("nan")])
def test_shares_outside_0_and_1_are_refused(share):
    assert "share in (0, 1)" in refusal(load_splits, (TEXTS, LABELS), validation=share)


def test_impossible_splits_are_refused_in_words():
    source = (TEXTS, LABELS)
    assert "leave no row" in refusal(load_splits, source, validation=0.5, test=0.5)
    message = refusal(load_splits, source, validation=0.05, test=0.05)
    assert "leaves none for validation" in message
    message = refusal(load_splits, source, validation=0.1)
    assert "cannot both have all 2 classes" in message
    rare = (TEXTS, ["x", "x", "y", "y", "x", "y", "x", "z"])
    message = refusal(load_splits, rare, validation=0.5)
    assert "class 'z' has 1 row for train and validation" in message
    for wrong in ({"limit": 0}, {"limit": 2.5}, {"seed": -1}):
        assert "must be a whole number from" in refusal(load_splits, source, **wrong)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    size=st.integers(1, 250),
    seed=st.integers(0, 1000),
)
def test_samples_are_seeded_proportional_and_miss_no_class(labels, size, seed):
    labels = np.array(labels, np.int32)
    rows = sample_rows(labels, len(labels), size, seed)
    np.testing.assert_array_equal(rows, sample_rows(labels, len(labels), size, seed))
    assert len(set(rows.tolist())) == len(rows) == min(size, len(labels))
    counts, taken = np.bincount(labels), np.bincount(labels[rows], minlength=4)
    expected = counts * len(rows) / len(labels)
    assert np.all(np.abs(taken[: len(counts)] - expected) < len(counts))
    if size >= np.count_nonzero(counts):
        assert np.count_nonzero(taken) == np.count_nonzero(counts)


def test_limit_bounds_every_source():
    texts = [f"text {number}" for number in range(100)]
    labels = [0, 1, 1, 1] * 25
    splits = load_splits((texts, labels), test=(texts, labels), limit=20)
    assert [len(part) for part in splits.parts.values()] == [20, 20]
    assert np.bincount(splits.train.labels).tolist() == [5, 15]
    splits = load_splits((texts, labels), validation=0.25, limit=20)
    assert [len(part) for part in splits.parts.values()] == [15, 5]
    assert len(load_splits((texts, labels), limit=10**9).train) == 100


def test_own_part_overrules_the_sources(write):
    parts = {"train": (TEXTS, LABELS), "validation": (["v"], [0])}
    splits = load_splits(parts, validation=0.25, test=(["t"], [1]))
    assert [len(part) for part in splits.parts.values()] == [6, 2, 1]


# === Split ===


@pytest.fixture
def split():
    return load_split((TEXTS, LABELS))


@pytest.mark.parametrize(
    "index",
    [
        slice(2, 5),
        slice(None, None, -1),
        slice(100, 200),
        np.array([5, 0, 0]),
        np.array(LABELS, bool),
        np.array([], int),
        [1, -1],
        [],
    ],
)
def test_slices_equal_numpys(split, index):
    part = split[index]
    where = np.array(index, int) if isinstance(index, list) else index
    rows = np.arange(len(TEXTS))[where]
    assert isinstance(part, Split)
    assert part.rows.tolist() == rows.tolist()
    assert part.texts == [TEXTS[row] for row in rows]
    assert part.labels.tolist() == [LABELS[row] for row in rows]
    assert part.label_names == split.label_names
    assert part[::2].texts == part.texts[::2]


def test_a_position_gives_one_row_and_iteration_ends(split):
    assert split[-1].texts == ["party"] and split[np.int64(0)].texts == ["fire"]
    assert [row.texts[0] for row in split] == TEXTS
    for position in (8, -9):
        with pytest.raises(IndexError):
            split[position]


def test_splits_are_read_only(split):
    with pytest.raises(ValueError):
        split.labels[0] = 1
    with pytest.raises(ValueError):
        split[2:].rows[0] = 1


def test_to_pandas_and_columns_follow_the_rows(split):
    frame = split[[3, 0]].to_pandas()
    assert frame.to_dict("list") == {
        "text": ["rain", "fire"],
        "label": [0, 1],
        "label_name": ["0", "1"],
        "row": [3, 0],
    }
    assert load_split(["a"]).to_pandas().columns.tolist() == ["text", "row"]
    assert split[1:3].column("label") == [1, 0]
    assert "did you mean 'label'?" in refusal(split.column, "labels")
    assert repr(split) == (
        "Split(8 rows of (text, label) in memory, classes ('0', '1'))"
    )


def test_digest_is_the_files_or_the_values(write):
    path = write("a.csv", csv_of())
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_splits(path).digest == expected
    digests = {
        load_splits(source).digest
        for source in (
            (TEXTS, LABELS),
            (tuple(TEXTS), np.array(LABELS, np.int8)),
            pd.DataFrame({"text": TEXTS, "label": LABELS, "id": LABELS}),
            pa.concat_tables(
                [
                    pa.table({"text": [t], "label": [y]})
                    for t, y in zip(TEXTS, LABELS, strict=True)
                ]
            ),
            pa.table({"text": ["", *TEXTS], "label": [0, *LABELS]}).slice(1),
        )
    }
    assert len(digests) == 1
    moved = (["firef", "lood", *TEXTS[2:]], LABELS)
    assert load_splits(moved).digest not in digests


# === Memory and imports ===


def test_importing_loads_no_heavy_library():
    code = (
        "import sys, kbert.data; heavy = {'pandas', 'datasets', 'sklearn', 'torch', "
        "'keras', 'tensorflow', 'transformers', 'matplotlib'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def write_reviews(path, num_rows):
    """Write reviews of 100 to 200 bytes in groups; return the bytes of text."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("text", pa.string()), ("label", pa.int8())])
    num_bytes = 0
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, num_rows, 50_000):
            rows = range(start, min(start + 50_000, num_rows))
            texts = [f"review {row} ".ljust(100 + row % 100, "x") for row in rows]
            num_bytes += sum(map(len, texts))
            labels = rng.integers(0, 2, len(rows), dtype=np.int8)
            writer.write_table(pa.table([texts, labels], schema=schema))
    return num_bytes


# A process of its own: Arrow and the system count peaks once a process.
MEASURE = """
import json, resource, sys, tracemalloc
import pyarrow as pa
from kbert.data import load_splits

def peak_resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

load_splits((list("abcdefgh"), [0, 1] * 4), validation=0.5)  # imports do not count
pool, resident = pa.default_memory_pool(), peak_resident()
splits = load_splits(sys.argv[1], validation=0.1, test=0.1)
resident = peak_resident() - resident
kept = pool.bytes_allocated()
parts = [splits.train[start : start + 32] for start in range(0, 3200, 32)]
measured = {
    "rows": [len(part) for part in splits.parts.values()],
    "arrow_peak": pool.max_memory(),
    "arrow_kept": kept,
    "slices": pool.bytes_allocated() - kept,
    "resident": resident,
    "texts": len(parts[-1].texts),
}
tracemalloc.start()
splits = load_splits(sys.argv[1], validation=0.1, test=0.1)
print(json.dumps(measured | {"python_peak": tracemalloc.get_traced_memory()[1]}))
"""


def measure(path):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_memory(folder, num_rows):
    """Bound Arrow's memory by the text, and Python's by the number of rows."""
    num_bytes = write_reviews(folder / "a.parquet", num_rows)
    measured = measure(folder / "a.parquet")
    assert measured["rows"] == [0.8 * num_rows, 0.1 * num_rows, 0.1 * num_rows]
    assert measured["arrow_peak"] < 2.5 * num_bytes + (32 << 20)
    assert measured["arrow_kept"] < 1.2 * num_bytes + (1 << 20)
    assert measured["slices"] == 0 and measured["texts"] == 32
    assert measured["python_peak"] < 150 * num_rows + (1 << 20)  # numbers, no texts
    assert measured["resident"] < 4 * num_bytes + (64 << 20)


@pytest.mark.slow
def test_splitting_parquet_takes_memory_in_proportion_to_its_text(tmp_path):
    check_memory(tmp_path, 50_000)


@pytest.mark.slow
def test_a_million_rows_take_memory_in_proportion_to_their_text(tmp_path):
    check_memory(tmp_path, 1_000_000)
