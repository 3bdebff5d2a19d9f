"""Bad input through `kbert train`, `evaluate`, `predict` and `export`.

One sentence on standard error, exit code 1 or 2, inputs untouched, outputs whole or
absent.
"""

import contextlib
import csv
import io
import json
import resource
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
from preset_folder import write_preset_folder

import kbert
from kbert.commands.main import main

TEXTS, LABELS = tiny.write_texts(80)
MOODS = np.where(LABELS, "good", "bad")
ODD = {
    "NUL": "the film\0 is good",
    "carriage return": "the film\ris good",
    "right to left": "\u202ethe film is good\u202c",
    "half a pair": "the film \ud800 is good",
    "long": "good " * 200_000,
    "blank": "   ",
    "emoji": "good \U0001f600 film",
    "quotes": 'the "film", is\ngood',
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a preset, a table and a run of two epochs."""
    folder = tmp_path_factory.mktemp("commands")
    write_preset_folder(folder / "preset")
    pd.DataFrame({"text": TEXTS, "mood": MOODS}).to_csv(
        folder / "moods.csv", index=False
    )
    assert main(train_line(folder, folder / "moods.csv", folder / "run")) == 0
    return folder


def train_line(place, source, out, *more) -> list[str]:
    words = ["train", str(source), "--preset", str(place / "preset"), "--epochs", "1"]
    return [*words, "--precision", "float32", "--out", str(out), *more]


@pytest.fixture
def refuses(capsys):
    """Run a command that fails; return its sentence."""

    def run(*argv) -> str:
        capsys.readouterr()
        code = main([str(one) for one in argv])
        error = capsys.readouterr().err
        assert code in (1, 2), error
        assert "Traceback" not in error
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, error
        return lines[0]

    return run


@contextlib.contextmanager
def limit_files(num_bytes: int):
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# === Files that are not as they seem ===


@pytest.mark.parametrize("mark", ["\\t", "\t", ";"])
def test_a_delimiter_is_taken_as_a_shell_passes_it(place, tmp_path, capsys, mark):
    path = tmp_path / "moods.txt"
    frame = pd.DataFrame({"text": TEXTS, "mood": MOODS})
    frame.to_csv(path, index=False, sep="\t" if mark == "\\t" else mark)
    assert main(["inspect", str(path), "--delimiter", mark]) == 0
    assert main(train_line(place, path, tmp_path / "run", "--delimiter", mark)) == 0


@pytest.mark.parametrize("command", ["train", "inspect", "predict", "evaluate"])
def test_a_delimiter_that_is_none_is_one_sentence(place, tmp_path, refuses, command):
    source, out = place / "moods.csv", tmp_path / "out"
    line = {
        "train": train_line(place, source, out),
        "inspect": ["inspect", source],
        "predict": ["predict", place / "run", source],
        "evaluate": ["evaluate", place / "run", source],
    }[command]
    assert "must be one ASCII character" in refuses(*line, "--delimiter", "tab")
    assert not out.exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".txt", ".conll"])
def test_an_unknown_encoding_is_one_sentence(place, tmp_path, refuses, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("text,label\na,b\n", "utf-8")
    line = train_line(place, path, tmp_path / "out")
    assert "utf-9" in refuses(*line, "--encoding", "utf-9")
    assert not (tmp_path / "out").exists()


def test_a_byte_order_mark_does_not_hide_tags(place, tmp_path, capsys):
    row = {"tokens": ["Ann", "sleeps"], "ner_tags": ["B-PER", "O"]}
    path = tmp_path / "names.jsonl"
    path.write_text((json.dumps(row) + "\n") * 30, "utf-8-sig")
    assert main(["inspect", str(path)]) == 0
    assert "tag" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", "empty"),
        ("header.csv", "text,mood\n", ""),
        ("ragged.csv", "text,mood\na,good\nb,bad,x\nc,good\n", "row 1"),
        ("open.csv", 'text,mood\n"a,good\nb,bad\n', "quote"),
        ("bytes.csv", b"text,mood\n\xff\xfe\xfa,good\n", ""),
        ("array.json", "[1, 2]", "row 0"),
        ("lines.jsonl", '{"text": "a", "mood": "good"}\n{"te', "line 2"),
        ("no.parquet", "text", ""),
    ],
)
def test_a_damaged_file_is_one_sentence(
    place, tmp_path, refuses, command, name, content, words
):
    path, out = tmp_path / name, tmp_path / "out"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    line = {
        "train": train_line(place, path, out, "--label", "mood"),
        "evaluate": ["evaluate", place / "run", path],
        "predict": ["predict", place / "run", path, "--out", out],
    }[command]
    if command == "predict":
        line[-1] = tmp_path / f"out{path.suffix}"
    sentence = refuses(*line)
    assert words in sentence and name in sentence
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path], "something half written is left"


# === Labels ===


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["good"] * 80, "one class"),
        ([f"name {i}" for i in range(80)], "classes"),
        ([None] * 80, ""),
    ],
    ids=["one class", "a class a row", "none"],
)
def test_labels_that_are_no_classes_are_one_sentence(
    place, tmp_path, refuses, labels, words
):
    path = tmp_path / "moods.csv"
    pd.DataFrame({"text": TEXTS, "mood": labels}).to_csv(path, index=False)
    line = train_line(place, path, tmp_path / "out", "--task", "classify")
    assert words in refuses(*line, "--label", "mood")
    assert not (tmp_path / "out").exists()


def test_a_label_never_seen_in_training_is_named(place, tmp_path, refuses):
    path = tmp_path / "moods.csv"
    pd.DataFrame({"text": TEXTS, "mood": ["odd", *MOODS[1:]]}).to_csv(path, index=False)
    sentence = refuses("evaluate", place / "run", path)
    assert "'odd'" in sentence and "row 0" in sentence
    line = train_line(place, place / "moods.csv", tmp_path / "out", "--test", path)
    assert "'odd'" in refuses(*line)


@pytest.mark.slow
def test_five_thousand_classes_train(place, tmp_path, refuses):
    texts = [f"the film is {i}" for i in range(10_000)]
    labels = [f"class {i % 5_000}" for i in range(10_000)]
    path, run = tmp_path / "many.csv", tmp_path / "run"
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)
    line = train_line(place, path, run, "--batch-size", "256")
    assert "cannot both have all 5000 classes" in refuses(*line)
    assert main([str(one) for one in (*line, "--validation", "0", "--test", "0")]) == 0
    assert (run / "report.html").stat().st_size < 3 * 2**20


def test_numbers_with_points_are_sorted_as_labels_of_several(tmp_path):
    rows = [{"text": text, "label": ["3.8", "10.5"][: 1 + i % 2]}
            for i, text in enumerate(TEXTS)]  # fmt: skip
    path = tmp_path / "several.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = kbert.load_splits(path, kind="several", validation=0.2)
    assert found.label_names == ("3.8", "10.5")


# === Texts ===


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_are_predicted_and_come_back_as_they_were(place, tmp_path, name):
    text = ODD[name]
    source, out = tmp_path / "odd.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"text": text, "n": 1}) + "\n", "utf-8")
    assert main(["predict", str(place / "run"), str(source), "--out", str(out)]) == 0
    (row,) = map(json.loads, out.read_text("utf-8").splitlines())
    assert row["text"] == text and row["label"] in ("good", "bad")


def test_a_lone_carriage_return_does_not_part_a_row(place, tmp_path, capsys):
    source, out = tmp_path / "a.csv", tmp_path / "b.csv"
    rows = [["text", "mood"], *([t, m] for t, m in zip(TEXTS, MOODS, strict=True))]
    rows[1][0] = "the film\ris good"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    assert main(["predict", str(place / "run"), str(source), "--out", str(out)]) == 0
    with out.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 80 and found[0]["text"] == rows[1][0]
    run = tmp_path / "run"
    assert main(train_line(place, source, run, "--test", str(source))) == 0
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    assert "does not hold" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_long_held_out_text_does_not_stop_an_export(place, tmp_path, caplog):
    pytest.importorskip("onnxruntime")
    texts = [ODD["long"], *TEXTS]
    path = tmp_path / "long.csv"
    frame = pd.DataFrame({"text": texts, "mood": ["good", *MOODS]})
    frame.to_csv(path, index=False)
    run = tmp_path / "run"
    assert main(train_line(place, place / "moods.csv", run, "--test", str(path))) == 0
    line = ["export", str(run), "--format", "onnx", "--out", str(tmp_path / "onnx")]
    assert main([*line, "--int8"]) == 0
    assert "of the labels stay the same" in caplog.text


# === Rows of JSON ===


def test_columns_of_json_stay_whatever_rows_have_them(place, tmp_path):
    rows = [
        {"text": TEXTS[0], "tags": ["x"], "meta": {"a": 1}},
        {"text": TEXTS[1], "label": "mine", "day": None},
        {"text": TEXTS[2], "tags": "y"},
    ]
    lines, array = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    array.write_text(json.dumps(rows), "utf-8")
    for source in (lines, array):
        out = tmp_path / "out.jsonl"
        assert (
            main(["predict", str(place / "run"), str(source), "--out", str(out)]) == 0
        )
        found = list(map(json.loads, out.read_text("utf-8").splitlines()))
        for row, before in zip(found, rows, strict=True):
            assert {name: row[name] for name in before} == before
            assert row["predicted_label"] in ("good", "bad")
    frame = kbert.predict(place / "run", lines)
    assert {"tags", "meta", "label", "day", "predicted_label"} <= set(frame.columns)


def test_what_is_nested_is_found_as_in_training(place, tmp_path):
    rows = [{"review": {"text": text}, "mood": mood}
            for text, mood in zip(TEXTS, MOODS.tolist(), strict=True)]  # fmt: skip
    path, run = tmp_path / "a.jsonl", tmp_path / "run"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert main(train_line(place, path, run, "--text", "review.text")) == 0
    frame = kbert.predict(run, path)
    assert len(frame) == 80 and set(frame["label"]) <= {"good", "bad"}


def test_values_without_a_form_in_json_become_text(place, tmp_path, capsys):
    path = tmp_path / "days.parquet"
    frame = pd.DataFrame({"text": TEXTS[:3], "day": pd.Timestamp("2026-01-02")})
    frame["raw"] = [b"a\xff", None, b"c"]
    frame.to_parquet(path)
    assert main(["predict", str(place / "run"), str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["day"].startswith("2026-01-02")
    assert found["rows"][0]["raw"] == "a\\xff" and found["rows"][1]["raw"] is None
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"text": "good \\ud800"}\n', "utf-8")
    assert main(["predict", str(place / "run"), str(odd), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["text"] == "good \ud800"


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a"])
def test_standard_input_is_written_as_what_it_is(
    place, tmp_path, refuses, monkeypatch, name
):
    stream = io.TextIOWrapper(io.BytesIO(b"the film is good\n"))
    monkeypatch.setattr("sys.stdin", stream)
    sentence = refuses("predict", place / "run", "-", "--out", tmp_path / name)
    assert "predictions of standard input are written as .csv" in sentence
    assert not (tmp_path / name).exists()


# === Runs and models ===


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "report"])
def test_a_folder_that_is_no_run_is_one_sentence(place, tmp_path, refuses, command):
    more = [place / "moods.csv"] if command in ("evaluate", "predict") else []
    if command == "export":
        more = ["--format", "keras", "--out", tmp_path / "out"]
    (tmp_path / "some").mkdir()
    for folder in (tmp_path / "some", tmp_path / "none"):
        assert str(folder) in refuses(command, folder, *more)


def test_a_model_of_another_task_is_one_sentence(place, tmp_path, refuses):
    row = {"tokens": ["Ann", "sleeps"], "ner_tags": ["B-PER", "O"]}
    path, run = tmp_path / "names.jsonl", tmp_path / "run"
    path.write_text((json.dumps(row) + "\n") * 40, "utf-8")
    assert main(train_line(place, path, run)) == 0
    assert refuses("evaluate", run, place / "moods.csv")
    assert refuses("evaluate", place / "run", path)


# === A full disk ===


@pytest.mark.parametrize("format", ["keras", "safetensors", "huggingface"])
def test_a_disk_that_fills_up_leaves_no_half_export(place, tmp_path, refuses, format):
    out = tmp_path / "out"
    with limit_files(8_000):
        sentence = refuses("export", place / "run", "--format", format, "--out", out)
    assert "error: " in sentence
    assert not out.exists() or not list(out.iterdir())


def test_a_disk_that_fills_up_leaves_no_half_prediction(place, tmp_path, refuses):
    out = tmp_path / "out.csv"
    out.write_text("precious\n", "utf-8")
    with limit_files(2_000):
        refuses("predict", place / "run", place / "moods.csv", "--out", out)
    assert out.read_text("utf-8") == "precious\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_disk_that_fills_up_while_training_is_one_sentence(place, tmp_path, refuses):
    with limit_files(20_000):
        refuses(*train_line(place, place / "moods.csv", tmp_path / "run"))
    left = {path.name for path in (tmp_path / "run").glob("*.keras")}
    assert not left


@pytest.mark.parametrize(
    ("encoding", "errors"),
    [("cp1252", "strict"), ("ascii", "strict"), ("ascii", "surrogateescape")],
)
def test_an_output_of_few_characters_stops_nothing(
    place, encoding, errors, monkeypatch
):
    odd = place / "odd.csv"
    rows = {"text": [*TEXTS[:6], "\u2212 \u017alte"], "mood": [*MOODS[:6], "good"]}
    pd.DataFrame(rows).to_csv(odd, index=False)
    run, printed = str(place / "run"), {}
    for name, words in {
        "inspect": ["inspect", str(odd)],
        "json": ["evaluate", run, str(odd), "--json"],
        "table": ["predict", run, str(odd), "--out", "-"],
    }.items():
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
        monkeypatch.setattr("sys.stdout", stream)
        assert main(words) == 0
        print("\u2212 \u0119")  # whatever else a command says
        sys.stdout.flush()
        printed[name] = raw.getvalue()
    assert rb"\u2212 \u0119" in printed["inspect"]
    assert json.loads(printed["json"].splitlines()[0])["num_examples"] == 7
    assert rows["text"][-1] in printed["table"].decode("utf-8")


def test_columns_that_cannot_be_told_apart_are_refused(place, refuses, tmp_path):
    run, twice = place / "run", tmp_path / "twice.csv"
    twice.write_text("text,mood,text\na film,good,b\n", "utf-8")
    out = tmp_path / "out.csv"
    assert "has several columns 'text'" in refuses("predict", run, twice, "--out", out)
    frame = pd.DataFrame([["a film", "b"]], columns=["text", "text"])
    with pytest.raises(ValueError, match="the data have several columns 'text'"):
        kbert.predict(run, frame)
    words = train_line(place, place / "moods.csv", tmp_path / "run")
    both = refuses(*words, "--text", "text", "--text-pair", "text")
    assert "(--text, --text-pair) are both 'text'" in both
    assert not out.exists() and not (tmp_path / "run").exists()


def test_packed_predictions_are_named_without_their_packing(place, refuses, tmp_path):
    packed = tmp_path / "moods.csv.gz"
    pd.DataFrame({"text": TEXTS, "mood": MOODS}).to_csv(packed, index=False)
    said = refuses("predict", place / "run", packed, "--out", tmp_path / "p.csv.gz")
    assert "name the file 'p.csv' instead of 'p.csv.gz'" in said


def test_a_stray_word_among_scores_is_named_by_its_row(place, refuses, tmp_path):
    scores = [f"{number / 80:.3f}" for number in range(80)]
    scores[33] = "N/A"
    table = tmp_path / "scores.csv"
    pd.DataFrame({"text": TEXTS, "score": scores}).to_csv(table, index=False)
    said = refuses(*train_line(place, table, tmp_path / "run"))
    assert "must hold numbers; row 33 has 'N/A'" in said


def test_the_threshold_is_refused_before_the_rows_are_predicted(
    place, refuses, monkeypatch
):
    monkeypatch.setattr("kbert.runs.evaluation._predict", lambda *a: 1 / 0)
    said = refuses("evaluate", place / "run", place / "moods.csv", "--threshold", "2")
    assert "must be a number between 0 and 1; received 2.0" in said


def test_a_file_without_a_header_is_read_with_the_names_given(place, tmp_path, capsys):
    bare, run = tmp_path / "SMSSpamCollection", tmp_path / "run"
    lines = [f"{mood}\t{text}" for text, mood in zip(TEXTS, MOODS, strict=True)]
    bare.write_text("\n".join(lines), "utf-8")
    layout = ["--columns", "mood, text", "--delimiter", "\\t"]
    assert main(train_line(place, bare, run, *layout)) == 0
    assert "--columns mood,text" in kbert.load_run(run).report["command"]
    capsys.readouterr()
    assert main(["evaluate", str(run), str(bare), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_examples"] == 80
    packed = tmp_path / "out.csv.gz"
    assert main(["predict", str(run), str(bare), "--out", str(packed)]) == 2
    out = tmp_path / "out.tsv"
    assert main(["predict", str(run), str(bare), "--out", str(out)]) == 0
    written = out.read_text("utf-8").splitlines()
    assert len(written) == 80 and written[0].startswith(lines[0] + "\t")
    capsys.readouterr()
    assert main(["inspect", str(bare), *layout, "--preset", str(place / "preset")]) == 0
    assert "80 rows" in capsys.readouterr().out
