"""kbert.data: files as people have them, and one sentence where they are damaged."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kbert.data import find_columns, load_split, load_splits
from kbert.data.delimiters import MARKS, guess_delimiter
from kbert.data.labels import note_classes

ROWS = [("what a film", 1), ("a, b; c", 0), ("so very good", 1), ("too long", 0)]
TEXTS = [text for text, _ in ROWS]


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file of this name and return its path."""

    def write_file(name, content):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        path.write_bytes(data)
        return path

    return write_file


def table_of(mark, rows=ROWS, header=("text", "label")):
    content = io.StringIO(newline="")
    csv.writer(content, delimiter=mark).writerows([header, *rows])
    return content.getvalue()


def refusal(call, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?"))
    return message


# === Delimiters ===


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.tsv"])
@pytest.mark.parametrize("mark", MARKS)
def test_delimiters_are_guessed_and_said(write, name, mark):
    # Quotes are characters in a file of tabs, and these rows need none there.
    splits = load_splits(write(name, table_of(mark)))
    assert splits.train.texts == TEXTS
    usual = {"a.csv": ",", "a.tsv": "\t"}.get(name)
    assert len(splits.notes) == (mark != usual)
    if mark != usual:
        (note,) = splits.notes
        assert MARKS[mark] in note and name in note and "--delimiter" in note
        assert splits.train.notes == splits.notes


@pytest.mark.parametrize("line", ["sep=;\n", '"SEP=;"\r\n', "\ufeffsep=;\r\n"])
def test_the_line_that_excel_writes_first_names_the_delimiter(write, line):
    rows = "".join(f"{n},5;{n % 2};note\n" for n in range(6))  # commas would fit too
    path = write("a.csv", f"{line}text;label;more\n{rows}")
    split = load_split(path, text="text", label="label")
    assert split.texts == [f"{n},5" for n in range(6)] and len(split.label_names) == 2
    assert find_columns(path, "text").label == "label"
    headless = write("b.csv", f"{line}{rows}")
    names = ("text", "label", "more")
    assert len(load_split(headless, label="label", columns=names)) == 6
    message = refusal(load_split, write("c.csv", f"{line}text;label\na;1\nb\n"))
    assert "row 1 (line 4) has 1 ('b')" in message


def test_an_explicit_delimiter_stays(write):
    path = write("a.csv", table_of(";"))
    assert load_splits(path, delimiter=";").notes == ()
    assert "pass delimiter=';'" in refusal(load_splits, path, delimiter=",")
    path = write("a.csv", table_of("\t"))
    assert load_split(path, delimiter="\\t").texts == TEXTS  # as a shell passes it
    for wrong in ("::", '"', "\n", "é", ""):
        if wrong:
            assert "one ASCII character" in refusal(load_split, path, delimiter=wrong)


def test_the_guess_fits_the_columns_wanted(write):
    path = write("a.csv", "a;b,text\nx;y,z\n")
    assert load_split(path).texts == ["z"]  # commas give a column `text`
    assert load_split(path, text="a").texts == ["x"]  # semicolons a column `a`
    path = write("b.csv", "id;body;label\n1;a, b;0\n2;c;1\n")
    message = refusal(load_split, path)  # and are said where no column fits
    assert "no column 'text'" in message and "It has id, body, label." in message


def test_headerless_files_are_guessed_by_their_number_of_fields(write):
    path = write("a.txt", "ham\thi, you\nspam\tWIN\n")
    split = load_split(path, label="label", columns=("label", "text"))
    assert split.texts == ["hi, you", "WIN"]


def test_a_text_file_without_fields_asks(write):
    path = write("a.txt", "what a film\nso good\n")
    message = refusal(load_split, path)
    assert "'what a film'" in message and "columns=('text',)" in message
    assert load_split(path, columns=("text",)).texts == ["what a film", "so good"]
    assert load_split(write("b.txt", 'text\n"a, b\n')).texts == ['"a, b']


# A file this small with a zero byte is taken for a binary one.
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=("Cs",))
MARKED = st.text(st.sampled_from("abc,;|\"' \t"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(MARKED, min_size=1, max_size=3, unique=True),
    st.lists(st.lists(MARKED, min_size=3, max_size=3), max_size=3),
    st.sampled_from(list(MARKS)),
    st.sampled_from([",", "\t"]),
)
def test_what_could_be_read_is_read_the_same(names, rows, mark, usual):
    """Whichever column of the usual delimiter's is wanted, that delimiter stays."""
    names = [name.strip("\r\n") or "x" for name in names]
    rows = [row[: len(names)] for row in rows]
    head = table_of(mark, rows, names)
    header = next(csv.reader(io.StringIO(head), delimiter=usual))
    for name in header:
        assert guess_delimiter(head, usual, [name], quoting=True) == usual
    columns = [f"c{number}" for number in range(len(header))]
    assert guess_delimiter(head, usual, columns=columns, quoting=True) == usual


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.text(CHARACTERS)] * 2),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(list(MARKS)),
)
def test_any_table_reads_back_equal_whatever_its_delimiter(rows, mark):
    assume(all(a or b for a, b in rows))  # a line of nothing but marks is a row, too
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        content = table_of(mark, rows, ("text", "other text"))
        path.write_bytes(content.encode())
        split = load_split(path, text="text", text_pair="other text", quoting=True)
        assert list(zip(split.texts, split.text_pairs, strict=True)) == rows


# === Encodings, compression, JSON ===


def test_utf16_is_read_by_its_mark_and_said(write):
    splits = load_splits(write("a.txt", table_of("\t").encode("utf-16")))
    assert splits.train.texts == TEXTS
    assert [note for note in splits.notes if "UTF-16" in note and "--encoding" in note]
    lines = "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in ROWS)
    assert load_splits(write("a.jsonl", lines.encode("utf-16"))).train.texts == TEXTS
    path = write("b.csv", table_of(",").encode("utf-16-le"))
    assert "--encoding utf-16-le" in refusal(load_splits, path)
    assert load_splits(path, encoding="utf-16-le").train.texts == TEXTS


def test_another_encoding_is_shown_as_it_would_read(write):
    path = write("a.csv", "text\nein schöner Tag – €5\n".encode("cp1252"))
    message = refusal(load_split, path)
    assert "--encoding cp1252) if 'ein schöner Tag – €5' is right" in message
    assert load_split(path, encoding="cp1252").texts == ["ein schöner Tag – €5"]


def zipped(data, *names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return content.getvalue()


PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: zipped(data, "__MACOSX/._a", "inner.csv"),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_compressed_files_are_unpacked(write, packer):
    pack = PACKERS[packer]
    path = write(f"a.csv.{packer}", pack(table_of(";").encode()))
    splits = load_splits(path)
    assert splits.train.texts == TEXTS and len(splits.notes) == 1
    lines = "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in ROWS)
    assert load_splits(write(f"a.jsonl.{packer}", pack(lines.encode()))).train.texts
    path = write(f"b.csv.{packer}", pack(b'label,text\n1,a\n0,"b\n'))
    assert "line 3" in refusal(load_split, path)
    path = write(f"c.csv.{packer}", pack(table_of(",").encode())[:-9])
    assert "cannot unpack" in refusal(load_split, path)
    path = write(f"d.csv.{packer}", b"text,label\na,1\n")
    assert "cannot unpack" in refusal(load_split, path)


def test_archives_of_several_files_and_none_are_refused(write):
    path = write("a.zip", zipped("text\na\n", "a.csv"))
    assert load_split(path).texts == ["a"]
    path = write("b.zip", zipped("text\na\n", "a.csv", "b.csv"))
    assert "holds 2 files (a.csv, b.csv)" in refusal(load_split, path)
    assert "holds 0 files" in refusal(load_split, write("c.zip", zipped("")))


def test_arrays_of_json_objects_are_read(write):
    rows = [{"text": t, "label": y, "odd": [y, "x"]} for t, y in ROWS]
    for indent in (None, 2):
        path = write("a.json", json.dumps(rows, indent=indent))
        splits = load_splits(path)
        assert splits.train.texts == TEXTS and splits.label_names == ("0", "1")
    assert "not JSON" in refusal(load_splits, write("b.json", json.dumps(rows)[:-1]))
    assert "holds no rows" in refusal(load_splits, write("c.json", "[]"))
    one = json.dumps({"data": rows}, indent=1)
    assert "holds one object, not rows" in refusal(load_splits, write("d.json", one))
    deep = write("e.json", "[" * 100_000)
    assert "not JSON" in refusal(load_splits, deep)


def test_nested_json_has_columns_with_dots(write):
    rows = [{"post": {"text": t, "by": {"id": y}}, "label": y} for t, y in ROWS]
    for name, content in (
        ("a.json", json.dumps(rows)),
        ("a.jsonl", "\n".join(map(json.dumps, rows))),
    ):
        split = load_split(write(name, content), text="post.text")
        assert split.texts == TEXTS and split.column("post.by.id") == [1, 0, 1, 0]
        message = refusal(load_split, write(name, content), text="post")
        assert "did you mean 'post.text'?" in message


# === Damage ===


def test_ragged_rows_have_their_line(write):
    content = 'text,label\n"two\nlines",1\n\nb,c,0\n'
    message = refusal(load_splits, write("a.csv", content))
    assert "needs 2 fields a row, but row 1 (line 5) has 3 ('b,c,0')" in message
    rows = "".join(f"text {n},{n % 2}\n" for n in range(5000))
    message = refusal(load_splits, write("a.csv", f"text,label\n{rows}short\n"))
    assert "row 5,000 (line 5,002) has 1" in message


@pytest.mark.parametrize("packed", [False, True])
def test_an_unclosed_quote_has_its_line(write, packed):
    def save(content):
        data = content.encode()
        return (
            write("a.csv.gz", gzip.compress(data)) if packed else write("a.csv", data)
        )

    message = refusal(load_splits, save('text,label\na,1\n"b,0\nc,1\nd,0\n'))
    assert 'the quote (") in line 3 is never closed' in message
    assert "--no-quoting" in message
    message = refusal(load_splits, save('text,label\na,1\n"b,0\nc,1\n"d,0,1\ne,1\n'))
    assert "row 1 (line 3) has 3" in message
    assert 'the quote (") in line 3 is never closed' in message
    message = refusal(load_splits, save('label,text\n1,a\n0,b\n1,"c\n0,d\n'))
    assert "begins in row 2 (line 4: 'c" in message


def test_a_quote_that_swallows_rows_unnoticed_is_said(write):
    content = 'id,text,label\n1,a,1\n2,"b,0\n3,c,1\n4,"d",0\n5,e,1\n'
    splits = load_splits(write("a.csv", content))
    assert len(splits.train) == 3
    (note,) = (one for one in splits.notes if "quote" in one)
    assert "begins in line 3" in note and "in line 5" in note
    fine = 'text,label\n"two\nlines, ""said"" she",1\n5" nail,0\n"x\ny",1\n'
    assert not [n for n in load_splits(write("b.csv", fine)).notes if "quote" in n]


def test_quotes_that_a_tsv_keeps_are_said_where_they_seem_to_enclose(write):
    rows = ["text\tlabel", '"He said ""hi"" to me"\t1', '"quoted" only\t0', "plain\t1"]
    path = write("q.tsv", "\n".join(rows))
    (note,) = load_split(path, label="label").notes
    assert note.startswith('1 text stands between quotes (") in q.tsv') and (
        "--quoting" in note
    )
    for quoting in (True, False):  # who says so is not told
        assert load_split(path, label="label", quoting=quoting).notes == ()
    twice = write("t.tsv", "text\ttext\tlabel\na\tb\t1\n")
    with pytest.raises(ValueError, match="2 columns named 'text'"):
        load_split(twice, label="label")
    path = write("p.tsv", "\n".join([rows[0], *rows[2:]]))
    assert load_split(path, label="label").notes == ()


def test_an_unclosed_quote_in_utf16_is_found(write):
    path = write("a.csv", 'label,text\n1,a\n0,"b\n1,c\n'.encode("utf-16"))
    assert "(line 3: 'b" in refusal(load_splits, path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xd0\xcf\x11\xe0" + bytes(99), "a spreadsheet of an old format"),
        (b"SQLite format 3\0" + bytes(99), "a database"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>", "a web page"),
        (b'{"text": "a", "label": 1}\n' * 2, "seems to be JSON; name it .jsonl"),
        (b"PK\3\4" + bytes(99), "export the sheet as CSV"),
        (b"\x80\x04\x95\0\0\0\0\0", "binary"),
        (b"text,label\na\1\0,1\n", "binary"),
    ],
)
def test_files_that_are_no_text_say_what_they_are(write, content, words):
    assert words in refusal(load_splits, write("a.csv", content))


def test_a_text_with_a_zero_byte_is_a_text(write):
    rows = [(f"text {n} of some length", n % 2) for n in range(50)]
    rows[3] = ("one \0 zero", 1)
    assert load_splits(write("a.csv", table_of(",", rows))).train.texts[3] == rows[3][0]


def test_one_column_and_a_header_alone(write):
    message = refusal(load_splits, write("a.csv", "text\na\nb\n"))
    assert "no column 'label'" in message and "It has text." in message
    assert "holds no rows" in refusal(load_splits, write("b.csv", "text;label\n"))


# === Labels ===


def classes_of(labels, **arguments):
    texts = [f"text {number}" for number in range(len(labels))]
    return load_splits((texts, labels), **arguments)


def test_labels_of_mixed_kinds_are_refused():
    message = refusal(classes_of, ["1", "yes", "1.0", "1"])
    assert "'1' in row 0, '1.0' in row 2, 'yes' in row 1" in message
    message = refusal(classes_of, ["1", "0", "Yes", "no"])
    assert "'1' in row 0, 'Yes' in row 2" in message
    assert classes_of(["1", "2", "more", "2"]).label_names == ("1", "2", "more")
    assert classes_of(["1", "1.0", "0", "0.0"]).label_names == ("0", "1")
    names = ("0", "1", "yes")
    assert classes_of(["1", "0", "yes"], label_names=names).label_names == names


def test_all_unknown_labels_are_named_with_their_rows():
    test = (["x", "y", "z", "w"], ["c", "a", "d", "c"])
    message = refusal(classes_of, ["a", "b"] * 4, test=test)
    assert "2 labels, 'c' in row 0, 2 rows in all; 'd' in row 2, which are" in message
    assert "'a', 'b'" in message


def test_a_class_of_one_row_says_what_to_do():
    labels = ["a", "b"] * 10 + ["rare"]
    message = refusal(classes_of, labels, test=0.2)
    assert "'rare' has 1 row" in message and "--no-stratify" in message
    (note,) = classes_of(labels).notes
    assert "'rare', row 20" in note and "merge classes" in note


def test_spellings_that_differ_in_capitals_are_said():
    notes = classes_of(["spam", "ham", "Spam", "ham", "spam", "Spam"]).notes
    assert notes[0].startswith("The classes 'Spam' (row 2) and 'spam' (row 0)")


def test_five_thousand_classes_are_read_cut_and_said():
    labels = [f"class {number % 5000}" for number in range(20_000)]
    splits = classes_of(labels, test=0.25)
    assert len(splits.label_names) == 5000
    assert "has 5,000 classes of 4.0 rows each on average" in splits.notes[0]
    assert len(repr(splits.train)) < 600
    assert note_classes(splits.test.labels, splits.label_names, "it")[1].startswith(
        "5,000 classes have one row only"
    )


# === Large files ===


@pytest.mark.parametrize("longest", [1, 1_000_000])  # fits into a block; does not
def test_small_blocks_read_the_same(write, monkeypatch, longest):
    rows = [(f"text {n}\nof {n % 7} lines" * (n % 5), n % 2, n) for n in range(3000)]
    rows[2000] = ("long " * longest, 0, "no number")
    path = write("a.csv", table_of(";", rows, ("text", "label", "other")))
    usual = load_split(path, label="label")
    monkeypatch.setattr("kbert.data.delimited._SMALL_BLOCK_BYTES", 1 << 14)
    split = load_split(path, label="label")
    assert split.texts == usual.texts and split.labels.tolist() == usual.labels.tolist()
    assert split.column("other") == usual.column("other")


def test_an_address_is_no_file():
    with pytest.raises(FileNotFoundError, match="addresses such as https:// are not"):
        load_split("https://example.com/x.csv")
