"""What an inspection finds in small data made for it, and how it says so."""

import dataclasses
import json
import types

import numpy as np
import pandas as pd
import pytest
from tiny import VOCABULARY, build_preset, write_texts

import kbert
from kbert.commands.main import main
from kbert.inspection import (
    KINDS,
    Example,
    Finding,
    Inspection,
    inspect_splits,
    languages,
    near,
)
from kbert.inspection.characters import repair_encoding, strip_odd_characters
from kbert.inspection.near import NearTexts, split_words
from kbert.inspection.rows import Rows

LONG = (
    "the quick survey of the valley took three days and the report filled forty pages"
)


def inspect(source, **options) -> Inspection:
    """Inspect with a tiny preset; languages only where they are asked for."""
    options = {"preset": build_preset(), "languages": False, **options}
    return kbert.inspect(source, **options)


def rows_of(found: Inspection, kind: str, part: str = "train") -> list[int]:
    return found[kind].rows[part].tolist()


def test_nothing_is_found_in_sound_data():
    labels = ["good", "bad"] * 20
    words = VOCABULARY[5:]
    texts = [f"the film is {words[i % 8]} and {words[i // 8 + 8]}" for i in range(40)]
    found = inspect((texts, labels))
    assert found.findings == () and found.notes == ()
    assert found.summary() == []
    assert "Nothing wrong was found." in str(found)
    assert found.label_counts == {"train": {"bad": 20, "good": 20}}


def test_nulls_blanks_duplicates_and_conflicts_are_found_in_their_rows():
    texts = ["a film", "a plot", None, "  ", "a film", "a plot", "a story", ""]
    labels = ["p", "n", "p", "n", "p", "p", None, "n"]
    found = inspect((texts, labels))
    assert rows_of(found, "nulls") == [2, 6]
    assert rows_of(found, "blanks") == [3, 7]
    assert rows_of(found, "duplicates") == [4]
    assert rows_of(found, "conflicts") == [1, 5]
    assert found["duplicates"].examples == (
        Example("train", 4, "a film", "like row 0"),
    )
    assert found["duplicates"].share == 1 / 8
    assert "leaks" not in found
    with pytest.raises(KeyError, match="leaks"):
        _ = found["leaks"]


def test_findings_come_with_the_worst_first():
    texts = ["a film", "a film", None, "a\0plot"] + [f"story {i}" for i in range(20)]
    found = inspect((texts, ["p", "n", "p", "n"] + ["p", "n"] * 10))
    kinds = [finding.kind for finding in found.findings]
    assert kinds == sorted(kinds, key=list(KINDS).index) and len(kinds) >= 3
    severities = [finding.severity for finding in found.findings]
    order = ["error", "warning", "note"]
    assert severities == sorted(severities, key=order.index)


def test_leaks_are_found_between_all_parts():
    train = (["one film", LONG, "three plots", "own"], ["p", "n", "p", "n"])
    near = LONG.replace("forty", "fifty")
    validation = (["one film", "own words", "shared"], ["p", "n", "p"])
    test = ([near, "three plots", "shared"], ["n", "p", "p"])
    found = inspect(train, validation=validation, test=test)
    assert rows_of(found, "leaks") == [0, 2]
    assert rows_of(found, "leaks", "validation") == [2]
    assert rows_of(found, "near_leaks") == [1]
    assert "test 0" in found["near_leaks"].examples[0].detail
    assert found["leaks"].share == 3 / 7  # of the rows that can leak


@pytest.mark.parametrize(
    ("other", "similarity"),
    [
        (LONG.upper() + "!!", 1.0),
        (LONG.replace("forty", "fifty"), 14 / 18),
        (LONG + " at https://example.org/a", 15 / 18),
        ("entirely other words stand in this sentence here", 0.0),
    ],
)
def test_similarity_is_that_of_pairs_of_words(other, similarity):
    split = kbert.load_split([LONG, other])
    texts = NearTexts(Rows({"train": split}))
    assert texts.similarity(0, 1) == pytest.approx(similarity)


def test_short_texts_are_near_only_with_the_same_words():
    texts = ["Great film!", "great film", "great films", "see http://a.b/1"]
    texts += ["see http://a.b/2", "???", "!!!", "10 of 10", "9 of 10"]
    found = inspect((texts, ["p", "n", "p"] * 3))
    assert rows_of(found, "near_duplicates") == [1]
    assert "1 of them have another label" in found["near_duplicates"].sentence


def test_unspaced_scripts_have_a_word_a_character():
    assert split_words("Kyoto 京都 http://A.b/C") == [
        "kyoto",
        "京",
        "都",
        "http://a.b/c",
    ]


def test_near_duplicates_do_not_depend_on_the_order_or_the_seed():
    generator = np.random.default_rng(0)
    words = [f"word{i}" for i in range(300)]
    rows = [generator.choice(words, 12, replace=False) for _ in range(300)]
    texts = [" ".join(row) for row in rows]
    changed = [" ".join([*row[:5], "other", *row[6:]]) for row in rows[:60]]
    order = generator.permutation(360)
    mixed = [(texts + changed)[i] for i in order]
    labels = ["p", "n"] * 180
    first = inspect((mixed, labels))
    assert first["near_duplicates"].count == 60
    again = inspect((mixed, labels), seed=7)
    assert rows_of(first, "near_duplicates") == rows_of(again, "near_duplicates")


def test_many_copies_of_one_text_are_grouped():
    texts = [f"{LONG} number {i}" for i in range(2000)]
    found = inspect((texts, ["p", "n"] * 1000), max_length=None)
    assert found["near_duplicates"].count == 1999


def test_classes_are_looked_at():
    texts = [f"text {i}" for i in range(225)]
    labels = ["ham"] * 200 + ["spam"] * 15 + ["Spam "] * 5 + ["other"] * 4 + ["Ham"]
    found = inspect((texts, labels))
    assert rows_of(found, "label_spelling") == [215, 216, 217, 218, 219, 224]
    assert rows_of(found, "few_rows") == list(range(215, 225))
    assert rows_of(found, "imbalance") == list(range(200))
    assert "'ham' (200), 'Ham' (1)" in found["imbalance"].sentence


def test_single_and_unseen_classes_are_errors():
    found = inspect((["a", "b"], ["p", "p"]), test=(["c", "d"], ["p", "q"]))
    assert rows_of(found, "one_class") == [0, 1]
    assert rows_of(found, "unseen_classes", "test") == [1]
    assert "'q'" in found["unseen_classes"].sentence


@pytest.mark.parametrize("num_rows", [30, 3000])
def test_labels_that_hardly_ever_recur_are_no_classes(num_rows):
    texts = [f"text {i}" for i in range(num_rows)]
    labels = [f"label {i}" for i in range(num_rows - 2)] + ["label x"] * 2
    found = inspect((texts, labels))
    assert rows_of(found, "unique_labels") == list(range(num_rows - 2))
    assert "few_rows" not in found and str(found).count("ERROR") == 1
    scores = [i / 7 for i in range(num_rows)]
    assert "unique_labels" not in inspect((texts, scores))


def test_scores_are_compared_by_value_and_are_no_classes():
    texts, scores = ["a film", "a plot", "a film", "a plot"], [1.5, 2.0, 1.5, 3.25]
    found = inspect((texts, scores))
    assert rows_of(found, "duplicates") == [2]
    assert rows_of(found, "conflicts") == [1, 3]
    assert found.label_counts == {}
    assert found.notes[0].startswith("class balance, since the labels are no classes")
    assert "Not checked: class balance" in str(found)


def test_unlabelled_data_can_be_inspected():
    found = inspect(["a film", "a film", ""])
    assert rows_of(found, "duplicates") == [1]
    assert rows_of(found, "blanks") == [2]


def test_pairs_are_compared_as_pairs():
    first, second = ["a film", "a film", LONG], ["a plot", "a story", "a plot\x07"]
    found = inspect((first, second, ["p", "n", "p"]))
    assert "duplicates" not in found and "conflicts" not in found
    assert rows_of(found, "odd_characters") == [2]
    assert found["odd_characters"].examples[0].text.startswith("the quick")


def test_lengths_and_unknown_tokens_are_those_of_the_preset():
    texts = ["the film is good", "日本 語 film", "the " * 40, "zzz yyy", "a film"]
    found = inspect((texts, ["p", "n", "p", "n", "p"]), max_length=10)
    assert rows_of(found, "truncated") == [2]
    assert found["truncated"].examples[0].detail == "42 tokens"
    assert found.truncation.num_tokens_dropped == 32
    assert found.max_length == 10
    assert rows_of(found, "unknown_tokens") == [1, 3]
    assert found["unknown_tokens"].examples[1].detail == "100% unknown"


def test_other_languages_are_found_where_a_text_is_long_enough():
    english = [f"the {w} was found near the river by two of us" for w in "abcdefgh"]
    other = [
        "Das Hotel war sehr schön und das Personal war freundlich",
        "Le film était vraiment trop long et très ennuyeux pour nous",
        "这部电影真的很好看我和我的朋友都很喜欢",
        "Фильм оказался очень скучным и слишком длинным",
        "ja nein",
    ]
    found = inspect((english + other, ["p", "n"] * 6 + ["p"]), languages=True)
    assert rows_of(found, "languages") == [8, 9, 10, 11]
    assert list(found.languages)[0] == "en"
    details = {example.detail for example in found["languages"].examples}
    assert details == {"de", "fr", "zh", "ru"}
    assert "too short to tell" in found["languages"].sentence


# === Limits, which are said ===


def test_near_duplicates_have_a_limit_of_rows(monkeypatch):
    monkeypatch.setattr(near, "MOST_ROWS", 1)
    found = inspect(([LONG, LONG + "!"], ["p", "n"]))
    assert "near_duplicates" not in found
    assert found.notes == (
        "near duplicates, since there are more than 1 rows; exact ones were.",
    )


def test_near_duplicates_have_a_limit_of_comparisons(monkeypatch):
    monkeypatch.setattr(near, "MOST_COMPARED", 0)
    words = LONG.split()
    texts = [" ".join([*words[:8], *f"a{i} b{i} c{i}".split()]) for i in range(50)]
    found = inspect((texts, ["p", "n"] * 25))
    assert found.notes[0].startswith("all near duplicates, since more than 0 pairs")


def test_languages_have_a_limit_of_questions(monkeypatch):
    monkeypatch.setattr(languages, "MOST_ASKED", 1)
    texts = ["Das Hotel war sehr schön und das Personal war freundlich"] * 3
    texts += ["Le film était vraiment trop long et très ennuyeux pour nous"] * 3
    found = inspect((texts, ["p", "n"] * 3), languages=True)
    assert found.notes[0].startswith("the language of every text")


# === Characters ===


@pytest.mark.parametrize("text", ["café – “naïve”", "It’s 5 € … no", "Łódź", "日本語"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_mojibake_is_repaired_to_the_original(text, encoding):
    try:
        garbled = text.encode().decode(encoding)
    except UnicodeDecodeError:
        garbled = text.encode().decode("latin-1")
    assert garbled != text
    assert repair_encoding(garbled) == text


def test_a_repair_to_a_lone_sign_of_another_script_is_not_sure():
    assert repair_encoding("the bomb\u00db\x9d - my 78") is None
    arabic = "مرحبا \u06dd"
    assert repair_encoding(arabic.encode().decode("latin-1")) == arabic


def test_text_of_two_wrong_encodings_is_repaired():
    text = "JAMAICA – two cars “ablaze”"
    garbled = text.encode().decode("cp1252", "replace")
    read = "".join(
        bytes([b]).decode("cp1252") if b not in (0x9D,) else chr(b)
        for b in text.encode()
    )
    twice = b"".join(
        c.encode("mac_roman") if ord(c) != 0x9D else b"\x9d" for c in read
    ).decode("latin-1")
    assert twice not in (text, garbled)
    assert repair_encoding(twice) == text


@pytest.mark.parametrize(
    "text",
    ["", "plain", "Žluťoučký kůň", "naïve café", "שלום", "ça va 100 €", "😀👍🏽"],
)
def test_sound_text_is_left_alone(text):
    assert repair_encoding(text) == text
    assert strip_odd_characters(text) == text


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("a\0b", "ab"),
        ("a\x0bb\x1fc\x7f", "a b c"),
        ("tab\tline\nend\r\n", "tab\tline\nend\r\n"),
        ("\ufeffstart\u200b", "start"),
        ("a\u202eb\u202c", "ab"),
        ("אב\u200fג", "אב\u200fג"),  # written from right to left: marks belong there
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that Persian needs
        ("\ud800x", "x"),
    ],
)
def test_odd_characters_are_stripped(text, stripped):
    assert strip_odd_characters(text) == stripped


def test_characters_are_found_in_their_rows():
    texts = ["fine", "cafÃ©", "nul\0", "lost \ufffd", "mark\u202e", "שלום\u200f", "ok"]
    found = inspect((texts, ["p", "n", "p", "n", "p", "n", "p"]))
    assert rows_of(found, "mojibake") == [1]
    assert found["mojibake"].examples[0].detail == "'cafÃ©' is 'café'"
    assert rows_of(found, "garbled") == [3]
    assert rows_of(found, "odd_characters") == [2, 4]
    assert found["odd_characters"].examples[0].detail == "U+0000 control character"


# === Splits ===


def test_splits_are_inspected_as_they_were_cut():
    texts, labels = write_texts(120)
    splits = kbert.load_splits(
        (texts, labels.tolist()), validation=0.2, test=0.2, stratify=False
    )
    model = build_preset()
    preprocessor = kbert.Preprocessor(model.tokenizer, max_length=12)
    found = inspect_splits(splits, preprocessor, languages=False)
    assert found.num_rows == {"train": 72, "validation": 24, "test": 24}
    assert found["leaks"].count == splits.findings.leaks.count > 0
    for row in found["leaks"].rows["train"]:
        assert texts[row] in splits.validation.texts + splits.test.texts
    assert found.truncation.length == 12
    with pytest.raises(ValueError, match="only a file can be fixed"):
        found.fix("out.csv")


@dataclasses.dataclass
class Part:
    """Rows of another task, as `inspect_splits` needs them."""

    texts: list[str]
    rows: np.ndarray


def test_splits_of_other_tasks_are_inspected_as_texts():
    train = Part(["a film", "b\0", "c", "a film"], np.array([7, 3, 5, 9]))
    parts = {"train": train, "test": Part(["c", "d"], np.array([0, 1]))}
    splits = types.SimpleNamespace(parts=parts, source="lines")
    found = inspect_splits(splits, languages=False)
    assert rows_of(found, "odd_characters") == [3]
    assert rows_of(found, "duplicates") == [9]
    assert found["duplicates"].examples[0].detail == "like row 7"
    assert rows_of(found, "leaks") == [5]
    assert found.label_counts == {}


# === How it is shown ===


def write_faults(path) -> None:
    texts = ["a film", "a film", "<b>a</b>\x1b[31m plot", "日本" * 60, "x" * 5000, " "]
    pd.DataFrame({"text": texts, "label": list("pnpnpn")}).to_csv(path, index=False)


def test_the_text_has_80_columns_and_no_control_characters(tmp_path):
    write_faults(tmp_path / "faults.csv")
    page = str(inspect(tmp_path / "faults.csv"))
    assert max(map(len, page.splitlines())) <= 80
    assert "\x1b" not in page and "<U+001B>" in page
    assert "ERROR" not in page and page.count("warning  ") >= 3
    assert "train 0, 1" in page


def test_the_page_holds_no_markup_of_a_text(tmp_path):
    write_faults(tmp_path / "faults.csv")
    page = inspect(tmp_path / "faults.csv")._repr_html_()
    assert "<b>a</b>" not in page and "&lt;b&gt;a&lt;/b&gt;" in page
    assert "\x1b" not in page


def test_json_holds_every_row(tmp_path):
    write_faults(tmp_path / "faults.csv")
    found = inspect(tmp_path / "faults.csv")
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    kinds = {finding["kind"]: finding for finding in value["findings"]}
    assert kinds["conflicts"]["rows"] == {"train": [0, 1]}
    assert kinds["conflicts"]["severity"] == "warning"
    assert value["num_rows"] == {"train": 6}
    assert value["label_errors"] is None
    short = found.to_json(max_rows=1)["findings"]
    assert [finding["rows"] for finding in short if finding["kind"] == "conflicts"] == [
        {"train": [0]}
    ]


def test_one_row_is_said_in_the_singular():
    finding = Finding("label_errors", 1, 0.5, {"train": np.array([3])})
    assert finding.sentence == "1 row (50.0%) probably has a wrong label."
    finding = Finding("duplicates", 1, 0.0001, {"train": np.array([3])})
    assert finding.sentence.startswith("1 row (under 0.1%) repeats the text")


# === Bad input ===


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"test": 0.2}, "test must be a source of its own to be inspected"),
        ({"near_duplicates": 0}, r"similarity in \(0, 1\] or None; received 0"),
        ({"max_length": 1000}, "max_length must be at most 24"),
        ({"label": "x"}, "has no column 'x'"),
        ({"check_labels": True}, "check_labels needs 20 labelled rows"),
        ({"preset": "no_such_preset"}, "no_such_preset"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(tmp_path, options, sentence):
    write_faults(tmp_path / "faults.csv")
    with pytest.raises((ValueError, kbert.PresetError), match=sentence):
        inspect(tmp_path / "faults.csv", **options)


def test_label_checks_say_what_to_install(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "cleanlab" else find(n)
    )
    texts, labels = write_texts(40)
    with pytest.raises(ValueError, match=r"pip install 'kbert\[inspect\]'"):
        inspect((texts, labels.tolist()), check_labels=True)


def test_without_any_preset_lengths_are_left_out(monkeypatch):
    from kbert.presets import embedded

    def refuse():
        raise kbert.PresetError("it is not installed")

    monkeypatch.setattr(embedded, "load_embedded_preset", refuse)
    found = kbert.inspect((["a film", "a plot"], ["p", "n"]), languages=False)
    assert found.truncation is None
    assert found.notes == (
        "lengths and unknown tokens, for want of a tokenizer: it is not installed",
    )


# === Command ===


def test_the_command_prints_and_fixes(tmp_path, capsys):
    write_faults(tmp_path / "faults.csv")
    flags = ["--preset", "all_minilm_l6_v2_en", str(tmp_path / "faults.csv")]
    out = tmp_path / "clean.csv"
    assert main(["inspect", *flags, "--json", "--fix", str(out)]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["num_rows"] == {"train": 6}
    assert found["fixed"] == {
        "path": str(out), "log": f"{out}.log.csv",
        "num_rows": 5, "num_dropped": 1, "num_repaired": 1,
    }  # fmt: skip
    said = " ".join(printed.err.split())
    assert f"Wrote {out}: 5 rows; 1 left out and 1 texts repaired" in said
    kinds = ["--drop", "blanks, conflicts", "--repair", "none", "--overwrite"]
    assert main(["inspect", *flags, "--fix", str(out), *kinds]) == 0
    said = " ".join(capsys.readouterr().out.split())  # a path may break a line
    assert "3 rows; 3 left out and 0 texts repaired" in said
    assert main(["inspect", *flags, "--fix", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""  # before anything takes time
    assert "clean.csv exists; pass overwrite=True (--overwrite)" in printed.err
    sheet = tmp_path / "sheet.xlsx"
    sheet.write_bytes(b"")
    for words, sentence in {
        (str(sheet), "--fix", str(tmp_path / "a.csv")): "is a spreadsheet, which is",
        (*flags, "--drop", "nulls"): "--drop says how --fix writes",
        (*flags, "--fix", str(out), "--drop", "nil"): "drop has no kind 'nil'",
    }.items():
        assert main(["inspect", *words]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "none.csv")]) == 1
    assert capsys.readouterr().err.startswith("error: there is no file")
