"""Faults planted in real data: how many are found, and how many that are none."""

import numpy as np
import pandas as pd
import pytest
from tiny import build_preset

import kbert
from kbert.inspection.characters import repair_encoding
from kbert.inspection.near import split_words

NAMES = {"text": "sentence", "label": "label"}


@pytest.fixture(scope="module")
def phrases(shared_data) -> pd.DataFrame:
    """Return SST-2's phrases of eight words or more, each once."""
    frame = pd.read_csv(shared_data("sst2") / "train.csv", keep_default_na=False)
    frame = frame[frame["sentence"].str.split().str.len() >= 8]
    return frame.drop_duplicates("sentence").sample(frac=1, random_state=0)


def inspect(source, **options):
    options = {"preset": build_preset(), "languages": False, **options}
    return kbert.inspect(source, **options)


def count_words(text: str) -> int:
    return len(split_words(text))


def change_word(text: str, generator) -> str:
    words = text.split()
    words[generator.integers(len(words))] = "altogether"
    return " ".join(words)


def test_all_planted_duplicates_and_leaks_are_found(phrases):
    generator = np.random.default_rng(0)
    frame = phrases[["sentence", "label"]].reset_index(drop=True)
    long = frame[frame["sentence"].map(count_words) >= 14]
    train, rest = frame[:3000], long[long.index >= 3000]
    test = rest[:500]
    copies = train.sample(100, random_state=1)
    shouted = train.sample(100, random_state=2).assign(
        sentence=lambda f: f["sentence"].str.upper() + " !!"
    )
    near = train[train["sentence"].map(count_words) >= 14].sample(100, random_state=3)
    near = near.assign(sentence=[change_word(t, generator) for t in near["sentence"]])
    leaks = test[:50]
    near_leaks = test[50:150]
    near_leaks = near_leaks.assign(
        sentence=[change_word(t, generator) for t in near_leaks["sentence"]]
    )
    planted = pd.concat([train, copies, shouted, near, leaks, near_leaks])
    found = inspect(planted.reset_index(drop=True), test=test, **NAMES)
    ends = np.cumsum([3000, 100, 100, 100, 50, 100])
    ranges = [set(range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    assert set(found["duplicates"].rows["train"]) == ranges[0]
    near_rows = set(found["near_duplicates"].rows["train"])
    assert ranges[1] | ranges[2] <= near_rows
    assert set(found["leaks"].rows["train"]) == ranges[3]
    assert ranges[4] <= set(found["near_leaks"].rows["train"])


def test_what_is_called_near_is_near(phrases):
    """Count by brute force: no alarm is false, and at most 1 % are missed."""
    frame = phrases[:1500].reset_index(drop=True)
    found = inspect(frame, **NAMES)
    words = [
        ["", *t.split(), ""]
        for t in frame["sentence"].str.lower().str.replace(r"[^\w ]+", " ", regex=True)
    ]
    pairs = [set(zip(w[:-1], w[1:], strict=True)) for w in words]
    near = set()
    for row in range(len(frame)):
        for other in range(row):
            shared = len(pairs[row] & pairs[other])
            union = len(pairs[row]) + len(pairs[other]) - shared
            if shared >= 0.7 * union and len(words[row]) > 6 and len(words[other]) > 6:
                near.add(row)
                break
    named = set(found["near_duplicates"].rows["train"]) if near else set()
    assert named <= near
    assert len(near - named) <= 0.01 * len(near)


MARKS = ["’s", "– ", "“so” ", "café ", "… ", "€5 ", "naïve ", "Zürich "]


def garble(text: str, encoding: str) -> str:
    """Decode UTF-8 wrongly, as browsers do: what Windows-1252 lacks stays a control."""
    kept = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
    return "".join(
        chr(byte) if byte in kept else bytes([byte]).decode(encoding)
        for byte in text.encode()
    )


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_planted_mojibake_is_found_and_repaired(shared_data, encoding):
    frame = pd.read_csv(shared_data("tweets") / "train.csv")
    texts = [t for t in frame["text"] if t.isascii()][:2000]
    generator = np.random.default_rng(0)
    planted = sorted(generator.choice(2000, 200, replace=False).tolist())
    originals = {}
    for row in planted:
        words = texts[row].split(" ")
        words.insert(generator.integers(len(words) + 1), str(generator.choice(MARKS)))
        originals[row] = " ".join(words)
        raw = originals[row].encode()
        garbled = "".join(
            chr(b)
            if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
            else bytes([b]).decode(encoding)
            for b in raw
        )
        texts[row] = garbled
    found = inspect(texts, unlabelled=True)
    assert found["mojibake"].rows["train"].tolist() == planted
    repaired = {row: repair_encoding(texts[row]) for row in planted}
    wrong = {row for row in planted if repaired[row] != originals[row]}
    assert not wrong, [(repaired[row], originals[row]) for row in sorted(wrong)[:3]]


@pytest.mark.slow
def test_a_cleaned_file_has_nothing_left_to_fix(shared_data, tmp_path):
    source, out = shared_data("tweets") / "train.csv", tmp_path / "clean.csv"
    before = source.read_bytes()
    found = inspect(source, label="target", near_duplicates=None)
    fixed = found.fix(out)
    assert source.read_bytes() == before
    assert fixed.num_repaired > 600 and fixed.num_dropped >= 92
    again = inspect(out, label="target", near_duplicates=None)
    assert not {"duplicates", "mojibake", "odd_characters"} & {
        finding.kind for finding in again.findings
    }
    assert again["garbled"].count <= found["garbled"].count


@pytest.mark.parametrize(
    ("name", "column", "most"),
    [
        ("sst2", "sentence", 0.0),
        ("mrpc", "sentence1", 0.001),
        pytest.param("imdb", "text", 0.0, marks=pytest.mark.slow),
    ],
)
def test_clean_english_gives_few_alarms(shared_data, name, column, most):
    """Of 2,000 rows: other languages, garbled and odd characters, by share."""
    folder = shared_data(name)
    if name == "imdb":
        frame = pd.read_parquet(folder / "train.parquet")
    else:
        frame = pd.read_csv(folder / "train.csv", keep_default_na=False)
    frame = frame.sample(2000, random_state=0)
    found = inspect(frame, text=column, unlabelled=True, languages=True)
    assert next(iter(found.languages)) == "en"
    for kind in ("languages", "garbled", "odd_characters"):
        count = found[kind].count if kind in found else 0
        assert count <= most * 2000, (kind, found[kind].examples)


def plant_label_errors(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, set[int]]:
    frame = frame.sample(2000, random_state=seed).reset_index(drop=True)
    rows = np.random.default_rng(seed).choice(2000, 100, replace=False)
    frame.loc[rows, "label"] = 1 - frame.loc[rows, "label"]
    return frame[["sentence", "label"]], set(rows.tolist())


@pytest.mark.slow
def test_most_planted_label_errors_come_first(shared_data):
    frame = pd.read_csv(shared_data("sst2") / "train.csv", keep_default_na=False)
    frame, planted = plant_label_errors(frame, seed=0)
    found = kbert.inspect(
        frame,
        check_labels=True,
        languages=False,
        preset="all_minilm_l6_v2_en",
        **NAMES,
    )
    first = set(found.label_errors.rows[:200].tolist())
    assert len(first & planted) >= 60
    listed = found["label_errors"]
    assert listed.count == found.label_errors.num_wrong
    assert (
        listed.rows["train"].tolist()
        == found.label_errors.rows[: listed.count].tolist()
    )
    assert (np.diff(found.label_errors.quality[: listed.count]) >= 0).all()


def test_label_errors_are_ranked_without_a_preset(shared_data, monkeypatch):
    from kbert.presets import embedded

    def refuse():
        raise kbert.PresetError("it is not installed")

    monkeypatch.setattr(embedded, "load_embedded_preset", refuse)
    frame = pd.read_csv(
        shared_data("spam") / "spamdata_v2.csv", keep_default_na=False
    ).drop_duplicates("text")[:1500]
    frame = frame.reset_index(drop=True)
    rows = np.random.default_rng(0).choice(len(frame), 40, replace=False)
    frame.loc[rows, "label"] = 1 - frame.loc[rows, "label"]
    found = kbert.inspect(frame, check_labels=True, languages=False)
    first = set(found.label_errors.rows[:80].tolist())
    assert len(first & set(rows.tolist())) >= 30
    assert "labelled '" in found["label_errors"].examples[0].detail
