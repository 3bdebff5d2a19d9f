"""kbert.data.find_columns: one sensible choice is made and said, others are asked."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kbert.data import Columns, find_columns, load_splits

TEXTS = ["what a film", "a dull plot", "so very good", "too long by far"] * 3
WORDS = ["pos", "neg", "pos", "neg"] * 3


def frame(**columns):
    return pd.DataFrame(columns)


def chosen(source, **arguments):
    columns = find_columns(source, **arguments)
    assert all(one.endswith(".") and "\n" not in one for one in columns.sentences)
    return columns.text, columns.label, columns.text_pair


def refusal(source, **arguments):
    with pytest.raises(ValueError) as caught:
        find_columns(source, **arguments)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


# === One sensible choice ===


@pytest.mark.parametrize(
    "text", ["text", "Review", "review_text", "Tweet Text", "Body"]
)
@pytest.mark.parametrize("label", ["label", "Target", "stars", "category", "Sentiment"])
def test_telling_names_are_found_in_any_spelling(text, label):
    table = frame(**{"id": range(12), label: WORDS, text: TEXTS, "when": ["x"] * 12})
    columns = find_columns(table)
    assert (columns.text, columns.label, columns.text_pair) == (text, label, None)
    first, second = columns.sentences
    assert repr(text) in first and "--text" in first
    assert repr(label) in second and "--label" in second and "neg" in second


def test_without_telling_names_kind_and_length_decide():
    table = frame(nr=range(12), a=WORDS, b=TEXTS)
    assert chosen(table) == ("b", "a", None)
    names = [f"name{number}" for number in range(12)]  # single words can be texts too
    assert chosen(frame(first_name=names, gender=WORDS)) == (
        "first_name",
        "gender",
        None,
    )


def test_a_title_beside_the_content_and_ids_are_no_choices():
    table = frame(
        review_id=[f"en_{n}" for n in range(12)],
        stars=[1, 2, 3, 4] * 3,
        title=TEXTS,
        content=[f"{text}, said he" for text in TEXTS],
        year=[2020] * 12,
    )
    assert chosen(table) == ("content", "stars", None)


def test_the_much_longer_of_two_is_the_text():
    table = frame(where=["New York"] * 12, said=[t * 9 for t in TEXTS], label=WORDS)
    assert chosen(table) == ("said", "label", None)


@pytest.mark.parametrize(
    "pair",
    [
        ("sentence1", "sentence2"),
        ("text_a", "text_b"),
        ("Question1", "Question2"),
        ("premise", "hypothesis"),
        ("text", "text_pair"),
    ],
)
def test_pairs_are_found_by_their_names(pair):
    table = frame(**{pair[0]: TEXTS, pair[1]: TEXTS[::-1], "label": WORDS})
    assert chosen(table) == (pair[0], "label", pair[1])
    assert "--text-pair" in find_columns(table).sentences[0]
    assert chosen(table, text=pair[0]) == (pair[0], "label", None)


def test_scores_are_labels():
    table = frame(text=TEXTS, value=[0.5, 1.25, 3.0] * 4)
    assert chosen(table) == ("text", "value", None)
    assert "numbers, such as 0.5" in find_columns(table).sentences[1]


def test_several_columns_of_0_and_1_are_labels():
    table = frame(
        id=range(12),
        comment=TEXTS,
        rude=[0, 1] * 6,
        loud=[1, 1, 0] * 4,
        rare=[0] * 12,
    )
    assert chosen(table) == ("comment", ("rude", "loud", "rare"), None)
    assert "3 columns of 0 and 1" in find_columns(table).sentences[1]
    flags = table.assign(rude=table.rude.astype(bool), loud=table.loud.astype(str))
    assert chosen(flags)[1] == ("rude", "loud", "rare")
    assert chosen(table.assign(label=WORDS))[1] == "label"


def test_named_columns_are_kept_and_not_spoken_of():
    table = frame(a=TEXTS, b=TEXTS, c=WORDS, d=WORDS)
    assert find_columns(table, text="b", label="c") == Columns("b", "c")
    assert chosen(table, text="a", label=["c", "d"]) == ("a", ("c", "d"), None)


def test_a_source_without_labels_may_be_taken():
    table = frame(id=range(12), text=TEXTS)
    assert chosen(table, label_optional=True) == ("text", None, None)
    assert "looks like labels" in refusal(table)


# === No sensible choice ===


def test_two_choices_are_named_with_the_flag():
    message = refusal(frame(review=TEXTS, comment=TEXTS, label=WORDS))
    assert "'review' and 'comment'" in message and "--text review" in message
    message = refusal(frame(text=TEXTS, label=WORDS, target=WORDS))
    assert "'label' and 'target'" in message and "--label label" in message
    message = refusal(frame(text=TEXTS, a=WORDS, b=[1, 2, 3] * 4))
    assert "'a' and 'b'" in message


def test_no_choice_lists_the_columns():
    message = refusal(frame(a=range(12), b=[1, 2] * 6))
    assert "looks like texts" in message and "'a', 'b'" in message
    message = refusal(frame(text=TEXTS, id=range(12), date=["2020"] * 12))
    assert "looks like labels" in message and "'id', 'date'" in message


def test_a_wrong_name_names_the_nearest():
    message = refusal(frame(text=TEXTS, label=WORDS), text="txet")
    assert "did you mean 'text'?" in message
    assert "'labels'" in refusal(frame(text=TEXTS, label=WORDS), label="labels")


def test_what_cannot_be_read_is_refused(tmp_path):
    assert "builtins.int" in refusal(3)
    empty = tmp_path / "a.csv"
    empty.write_text("")
    assert "0 bytes" in refusal(empty)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_columns(tmp_path / "b.csv")
    empty.write_text("text;label\n")
    assert "holds no rows" in refusal(empty)
    empty.write_text('{"text": "a b", "label": 1}\n' * 2)
    assert "seems to be JSON" in refusal(empty)
    prose = tmp_path / "a.txt"
    prose.write_text("It was dark.\nAnd so on.\n")
    assert "columns=('text',)" in refusal(prose)


# === Every kind of source ===


def write(folder, kind):
    table = frame(n=range(12), opinion=TEXTS, verdict=WORDS)
    path = folder / f"train.{kind}"
    records = table.to_dict("records")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pandas(table), path)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif kind == "json":
        path.write_text(json.dumps(records, indent=1))
    else:
        mark = {"csv": ",", "tsv": "\t", "txt": "|", "csv.gz": ";"}[kind]
        table.to_csv(path, index=False, sep=mark)
    return path


@pytest.mark.parametrize(
    "kind", ["csv", "tsv", "txt", "csv.gz", "json", "jsonl", "parquet"]
)
def test_files_and_folders_are_looked_at(tmp_path, kind):
    path = write(tmp_path, kind)
    columns = find_columns(path)
    assert (columns.text, columns.label) == ("opinion", "verdict")
    assert path.name in columns.sentences[0]
    splits = load_splits(path, text=columns.text, label=columns.label)
    assert splits.train.texts == TEXTS and splits.label_names == ("neg", "pos")
    if kind not in ("txt",):
        assert find_columns(str(tmp_path)) == columns


def test_sources_in_memory_are_looked_at():
    datasets = pytest.importorskip("datasets")
    table = frame(n=range(12), opinion=TEXTS, verdict=WORDS)
    arrow = pa.Table.from_pandas(table)
    for source in (table, {"train": table}, arrow, datasets.Dataset.from_pandas(table)):
        assert chosen(source) == ("opinion", "verdict", None)
    assert find_columns((TEXTS, WORDS)) == Columns("text", "label")
    assert find_columns((TEXTS, TEXTS, WORDS)) == Columns("text", "label", "text_pair")
    assert find_columns(TEXTS) == Columns("text")


def test_a_sorted_table_is_looked_at_all_over():
    table = frame(
        x=[f"text {n} of many" for n in range(5000)], y=[0] * 2500 + [1] * 2500
    )
    labels = table.rename(columns={"y": "kind"})
    assert chosen(labels) == ("x", "kind", None)
    assert "0, 1" in find_columns(labels).sentences[1]


def test_nested_json_is_named_with_dots(tmp_path):
    rows = [
        {"data": {"text": t, "n": 1}, "meta": {"label": w}}
        for t, w in zip(TEXTS, WORDS, strict=True)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert chosen(path) == ("data.text", "meta.label", None)
