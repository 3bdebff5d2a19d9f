"""Which columns are found, which task is guessed, and what is asked."""

import json

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from kbert.tasks import TASKS, Request, Task, find_task, guess_task
from kbert.tasks.columns import complete

TEXTS = [f"the film number {i} was quite good" for i in range(30)]
TWO = ["good", "bad"] * 15


def frame(**columns) -> Request:
    return Request(source=pd.DataFrame(columns))


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"text": TEXTS, "label": TWO}, "text", "label"),
        ({"id": range(30), "Review": TEXTS, "Stars": TWO}, "Review", "Stars"),
        ({"text_a": TEXTS, "text_b": TEXTS, "label": TWO}, "text_a", "label"),
        ({"words": TEXTS, "kind": TWO}, "words", "kind"),
        ({"words": TEXTS, "kind": TWO, "": range(30)}, "words", "kind"),
        ({"Unnamed: 0": range(30), "q": TEXTS, "z": TWO}, "q", "z"),
        ({"text": TEXTS, "a": [0, 1] * 15, "b": [1, 1, 0] * 10}, "text", ("a", "b")),
        ({"name": list("abcdefghij") * 3, "label": TWO}, "name", "label"),
    ],
)
def test_the_only_sensible_columns_are_found_and_said(columns, text, label):
    request, sentences = complete(frame(**columns))
    assert (request.text, request.label) == (text, label)
    assert len(sentences) == 2 and repr(text) in sentences[0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"one": TEXTS, "two": TEXTS[::-1], "label": TWO}, "texts, 'one' and 'two'"),
        ({"text": TEXTS, "x": TWO, "z": TWO}, "the labels, 'x' and 'z'; pass label="),
        ({"text": TEXTS, "n": range(30)}, "no column that looks like labels"),
        ({"a": range(30), "b": range(30)}, "no column that looks like texts"),
    ],
)
def test_where_several_could_be_meant_the_user_is_asked(columns, words):
    with pytest.raises(ValueError, match=words):
        complete(frame(**columns))


def test_columns_that_are_named_are_taken():
    request = Request(
        source=pd.DataFrame({"one": TEXTS, "two": TEXTS, "x": TWO, "z": TWO}),
        text="two",
        text_pair="one",
        label="z",
    )
    assert complete(request) == (request, [])
    several = Request(source=request.source, text="one", label="x,z")
    assert complete(several)[0].label == ("x", "z")


@pytest.mark.parametrize(
    ("labels", "name", "why"),
    [
        (TWO, "classify", "2 different labels"),
        ([1, 2, 3] * 10, "classify", "3 different"),
        (["1", "5"] * 15, "classify", "2 different"),
        (list(range(30)), "regress", "30 different numbers"),
        ([0.5, 1.0, 2.0] * 10, "regress", "fractions, such as 0.5"),
        (["2.25", "3"] * 15, "regress", "fractions, such as 2.25"),
        (["2.25", "3"] * 14 + ["1", "N/A"], "regress", "numbers, but for 'N/A'"),
        (["1", "2"] * 14 + ["1", "more"], "classify", "3 different"),
        (["a;b", "b", "a"] * 10, "multilabel", "several labels a row, such as 'a;b'"),
        (["a|b", "b", "a", "c|a", "c"] * 6, "multilabel", "such as"),
        (["good, very", "bad, very"] * 15, "classify", "2 different"),
        (["['a', 'b']", '["b"]', "[]"] * 10, "multilabel", "holds lists of labels"),
        (["a;b", "b", "a", "b;a;c"] + ["a", "b"] * 13, "multilabel", "several"),
    ],
)
def test_the_task_follows_from_the_labels(labels, name, why):
    task, words = guess_task(frame(text=TEXTS, label=labels))
    assert task is TASKS[name] and why in words


def test_numbers_of_labels_some_of_which_stand_together_are_no_scores():
    labels = [*map(str, range(30))] * 3 + ["3;17", "4;9", "1;2"]
    table = frame(text=[f"text {i}" for i in range(93)], label=labels)
    task, words = guess_task(table)
    assert task.name == "multilabel" and "'3;17'" in words


def test_flags_in_several_columns_are_several_labels():
    task, words = guess_task(frame(text=TEXTS, a=[0, 1] * 15, b=[1, 1, 0] * 10))
    assert task.name == "multilabel" and "'a', 'b'" in words


def test_other_formats_are_recognised_by_their_content(tmp_path, monkeypatch):
    for name in ("tag", "answer"):
        monkeypatch.setitem(TASKS, name, name)
    files = {
        "a.conll": "-DOCSTART- -X- O O\n\nPeter NNP B-NP B-PER\nleft VBD B-VP O\n\n",
        "b.txt": "Peter B-PER\nleft O\n\nMary B-PER\n",
        "c.jsonl": json.dumps({"tokens": ["Peter", "left"], "tags": ["B-PER", "O"]}),
        "d.json": '{"version": "1.1", "data": [{"title": "x", "paragraphs": []}]}',
    }
    found = {}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        found[name] = guess_task(Request(source=tmp_path / name))[0]
    assert list(found.values()) == ["tag", "tag", "tag", "answer"]
    (tmp_path / "parts").mkdir()
    for part in ("train", "test"):
        (tmp_path / "parts" / f"{part}.txt").write_text(files["b.txt"])
    assert guess_task(Request(source=tmp_path / "parts"))[0] == "tag"


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_lists_of_labels_are_several_labels_and_are_loaded(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    labels = [[["x"], ["y", "x"], []][row % 3] for row in range(30)]
    rows = [
        {"text": text, "labels": own, "by": own}
        for text, own in zip(TEXTS, labels[1:] + labels[:1], strict=True)
    ]
    if ending == "parquet":
        kind = pa.large_list(pa.large_string())
        kinds = [("text", pa.string()), ("labels", kind), ("by", kind)]
        parquet.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), path)
    else:
        lines = "\n".join(map(json.dumps, rows))
        path.write_text(lines if ending == "jsonl" else json.dumps(rows), "utf-8")
    request = Request(source=path)
    task, _ = guess_task(request)
    assert task.name == "multilabel"
    splits = task.load(request)
    assert splits.label_names == ("x", "y") and len(splits.train) > 20
    with pytest.raises(ValueError, match="read several labels a row: kind='several'"):
        find_task("classify").load(request)


def test_an_unknown_task_is_refused_with_the_nearest():
    assert isinstance(find_task("regress"), Task)
    with pytest.raises(ValueError, match="'clasify'. Did you mean 'classify'?"):
        find_task("clasify")
    with pytest.raises(ValueError, match="There are classify, multilabel, regress"):
        find_task("xyz")
