"""What an inspection finds in tagged words, in questions and in several labels."""

import json

import pandas as pd
import pytest
from tiny import build_preset

import kbert

TEXTS = [f"the film of {n} was good" for n in range(40)]
TEXTS[10], TEXTS[21] = TEXTS[8], TEXTS[1]


def inspect(source, **options):
    options = {"preset": build_preset(), "languages": False, **options}
    return kbert.inspect(source, **options)


def rows_of(found, kind: str, part: str = "train") -> list[int]:
    return found[kind].rows[part].tolist()


def write_sentences(path, sentences) -> None:
    """Write (word, tag) pairs as a CoNLL file, with tabs."""
    lines = ["".join(f"{word}\t{tag}\n" for word, tag in one) for one in sentences]
    path.write_text("\n".join(lines), "utf-8")


FINE = [[("the", "O"), (f"film{n}", "B-X"), ("is", "I-X")] for n in range(12)]


def test_tagged_words_are_read_whatever_is_wrong_with_their_tags(tmp_path):
    faulty = [
        [("a", "O"), ("plot", "PER")],
        [("a", "B-X"), ("story", "I-Y")],
        [("lone", "O"), ("inside", "I-X"), ("again", "I-X")],
        [(" ", "O"), ("good", "B-Y")],
        FINE[2],
        [("the", "O"), ("film3", "O"), ("is", "O")],
        [("the", "O")] * 30,
    ]
    write_sentences(tmp_path / "train.txt", FINE + faulty)
    write_sentences(tmp_path / "test.txt", [[("a", "B-NEW")], FINE[0]])
    found = inspect(tmp_path)
    assert found.num_rows == {"train": 19, "test": 2}
    assert any("The task is tag, since" in one for one in found.guesses)
    assert rows_of(found, "bad_tags") == [12]
    assert found["bad_tags"].examples[0].detail == "the tag 'PER'"
    assert rows_of(found, "loose_inside") == [13, 14]
    assert found["loose_inside"].examples[1].detail == "I-X of 'inside'"
    assert rows_of(found, "blank_words") == [15]
    assert rows_of(found, "duplicates") == [16] and rows_of(found, "conflicts") == [
        3,
        17,
    ]
    assert rows_of(found, "windowed") == [18] and found.truncation is None
    assert rows_of(found, "unseen_classes", "test") == [0]
    assert rows_of(found, "leaks") == [0] and "'Y' (2)" in found["few_rows"].remark
    assert found.label_counts["test"] == {"B-NEW": 1, "B-X": 1, "I-X": 1, "O": 1}
    with pytest.raises(ValueError, match="only tables are written again"):
        found.fix(tmp_path / "fixed.txt")


def test_inside_first_is_no_fault_of_the_scheme_that_says_so(tmp_path):
    sentences = [[("the", "O"), (f"film{n}", "I-X"), ("is", "I-X")] for n in range(12)]
    write_sentences(tmp_path / "a.conll", [*sentences, [("a", "I-X"), ("b", "B-X")]])
    assert "loose_inside" not in inspect(tmp_path / "a.conll")


def test_empty_sentences_and_one_tag_are_found_in_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"tokens": text.split(), "tags": ["O"] * len(text.split())} for text in TEXTS
    ]
    rows[7] = {"tokens": [], "tags": []}
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found = inspect(path)
    assert rows_of(found, "blanks") == [7]
    assert found["one_class"].remark == "It is 'O'."


def write_squad(path, questions) -> None:
    paragraphs = [
        {
            "context": context,
            "qas": [{"id": f"q{n}", "question": ask, "answers": golds}],
        }
        for n, (ask, context, golds) in enumerate(questions)
    ]
    data = [{"title": "t", "paragraphs": paragraphs}]
    path.write_text(json.dumps({"version": "1.1", "data": data}), "utf-8")


def test_questions_are_read_whatever_is_wrong_with_their_answers(tmp_path):
    def gold(text, start):
        return [{"text": text, "answer_start": start}]

    text = "the film was good"
    path = tmp_path / "a.json"
    write_squad(
        path,
        [
            ("what", text, gold("film", 4)),
            ("what", text, gold("film", 5)),
            ("how", text, gold("bad", 13)),
            ("who", text, []),
            ("what", "the plot is cafÃ©", gold("plot", 4)),
            ("what", "the film " * 60, gold("film", 4)),
            ("what", text, gold("good", 13)),
            ("what", text, gold("film", 4)),
            (" ", text, gold("film", 4)),
        ],
    )
    found = inspect(path)
    assert rows_of(found, "misplaced_answers") == [1, 2]
    assert found["misplaced_answers"].examples[1].detail == "'bad', id q2"
    assert rows_of(found, "no_answer") == [3] and rows_of(found, "mojibake") == [4]
    assert rows_of(found, "windowed") == [5] and rows_of(found, "blanks") == [8]
    assert rows_of(found, "duplicates") == [1, 7]  # one question on one text
    assert rows_of(found, "conflicts") == [0, 1, 6, 7]
    assert "near_duplicates" not in found and "questions on one" in found.notes[0]
    with pytest.raises(ValueError, match="only tables are written again"):
        found.fix(tmp_path / "b.json")
    table = tmp_path / "a.csv"
    frame = {
        "question": ["what"] * 3,
        "context": [text] * 3,
        "answer": ["film", "", "x"],
    }
    pd.DataFrame(frame).to_csv(table, index=False)
    found = inspect(table, task="answer")
    assert rows_of(found, "misplaced_answers") == [2] and rows_of(
        found, "no_answer"
    ) == [1]


FLAGS = pd.DataFrame(
    {
        "text": TEXTS,
        "hot": [n % 2 for n in range(40)],
        "new": [int(n < 3) for n in range(40)],
        "none": 0,
    }
)


@pytest.mark.parametrize("form", ["columns", "names", "lists"])
def test_several_labels_are_looked_at_one_by_one(tmp_path, form):
    names = [
        [name for name in ("hot", "new") if row[name]] for _, row in FLAGS.iterrows()
    ]
    path = tmp_path / ("a.jsonl" if form == "lists" else "a.csv")
    if form == "columns":
        FLAGS.to_csv(path, index=False)
    elif form == "names":
        joined = FLAGS[["text"]].assign(labels=[";".join(one) for one in names])
        joined.to_csv(path, index=False)
    else:
        rows = [{"text": t, "labels": one} for t, one in zip(TEXTS, names, strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found = inspect(path)
    counts = found.label_counts["train"]
    assert (counts["hot"], counts["new"]) == (20, 3)
    assert rows_of(found, "few_rows") == [0, 1, 2] and "'new' (3)" in str(found)
    assert rows_of(found, "no_labels") == list(range(4, 40, 2))
    assert ("constant_labels" in found) == (form == "columns")
    assert rows_of(found, "duplicates") == [10]
    assert rows_of(found, "conflicts") == [1, 21]
    assert found.fix(tmp_path / f"fixed{path.suffix}").num_dropped == 1
    with pytest.raises(ValueError, match="needs a column of classes"):
        inspect(path, check_labels=True)
    assert ("classify" in str(found)) == (form == "names")  # where that can be done
    if form == "names":
        assert "unseen_classes" not in inspect(path, task="classify")


def test_labels_of_a_later_part_alone_are_found(tmp_path):
    FLAGS.assign(none=[int(n == 5) for n in range(40)]).to_csv(tmp_path / "b.csv")
    FLAGS.to_csv(tmp_path / "a.csv")
    found = inspect(tmp_path / "a.csv", test=tmp_path / "b.csv", label="hot,new,none")
    assert rows_of(found, "unseen_classes", "test") == [5]
    assert found["unseen_classes"].remark == "These labels are 'none'."
