"""What is decided and said before a training begins."""

import types

import pandas as pd
import pytest
import tiny

import kbert
from kbert.evaluation import ThresholdRule
from kbert.runs import console
from kbert.runs.label_check import find_label_errors
from kbert.runs.outcome import describe_plan, write_command
from kbert.runs.plan import Plan, build_plan
from kbert.runs.training import build_model
from kbert.runs.trust import check_data
from kbert.tasks import Request

TEXTS, LABELS = tiny.write_texts(60)
TABLE = pd.DataFrame({"text": TEXTS, "label": LABELS})
SCORES = TABLE.assign(label=[n / 7 for n in range(60)])
THREE = TABLE.assign(label=["a", "b", "c"] * 20)
PAIRS = TABLE.assign(other=TEXTS[::-1])


def plan(source, task=None, *, epochs=None, data=None, **options) -> Plan:
    settings = {"frozen": None, "class_weight": None, "precision": "float32"}
    settings |= {"long_text": None, "slices": (), "chosen": {"epochs": epochs}}
    request = Request(
        source=source, **{"validation": None, "test": None, **(data or {})}
    )
    return build_plan(request, task, tiny.build_preset(), **settings | options)


def write_words(path) -> None:
    lines = [f"{word} {'B-X' if len(word) > 4 else 'O'}" for word in TEXTS[0].split()]
    path.write_text("\n".join([*lines, ""] * 20), "utf-8")


def test_a_folders_own_part_and_a_share_that_was_asked_for_are_both_said(tmp_path):
    for name in ("train", "test"):
        write_words(tmp_path / f"{name}.txt")
    for share in (0.2, 0):
        found = plan(tmp_path, "tag", data={"test": share})
        assert len(found.splits.test) == 20
        assert f"own test.txt, so --test {share:g} changes nothing" in found.notices[0]
    found = plan(tmp_path, "tag")  # nothing was asked for
    assert len(found.splits.test) == 20 and not found.notices
    assert "--test" not in write_command(found)
    table = tmp_path / "table"
    table.mkdir()
    for name in ("train", "test"):
        TABLE.to_csv(table / f"{name}.csv", index=False)
    found = plan(table, data={"test": 0.2})
    assert len(found.splits.test) == 12
    assert "own test.csv is not used: the test part is a share" in found.notices[0]


def test_the_settings_say_when_training_ends_early(capsys):
    console.announce(plan(TABLE, epochs=8))
    assert (
        "at most 8 epochs (ends after 4 without a better one)"
        in capsys.readouterr().out
    )
    console.announce(plan(TABLE, epochs=8, data={"validation": 0}))
    shown = capsys.readouterr().out
    assert "Settings  8 epochs, batch" in shown and "better" not in shown


def test_the_positive_class_of_two_is_the_one_that_is_asked_for(capsys):
    frame = TABLE.assign(label=["legit" if n else "fraud" for n in LABELS])
    rule = {"threshold": ThresholdRule("cost", cost_false_negative=10)}
    usual = plan(frame, **rule)
    console.announce(usual)
    assert "a row wrongly called 'legit'\n" in capsys.readouterr().out
    asked = plan(frame, positive="fraud", **rule)
    console.announce(asked)
    shown = capsys.readouterr().out
    assert "classify: legit, fraud\n" in shown and "wrongly called 'fraud'\n" in shown
    for name, part in asked.splits.parts.items():
        same = usual.splits.parts[name]
        assert part.texts == same.texts and part.label_names == ("legit", "fraud")
        assert (part.labels == 1 - same.labels).all()
    assert "positive='fraud'" in write_command(asked)
    assert build_model(asked).label_names == ("legit", "fraud")
    # The labels of other files are read by their names.
    numbers = plan(TABLE, positive="0")
    request = Request(source=TABLE, label="label", label_names=("1", "0"))
    assert (numbers.task.read(request).labels == 1 - TABLE["label"]).all()
    for changes, sentence in (
        ({"positive": "spam"}, "must be 'fraud' or 'legit', .* received 'spam'"),
        ({"positive": "x", "task": "regress", "source": SCORES}, "regress has none"),
        ({"positive": "a", "source": THREE}, "of two classes; these are 3"),
    ):
        with pytest.raises(ValueError, match=sentence):
            plan(**{"source": frame, **changes})


def test_a_model_of_pairs_is_explained_with_both_texts():
    model = build_model(plan(PAIRS, data={"text": "text", "text_pair": "other"}))
    with pytest.raises(
        ValueError, match="one text was given; give the second too: --t"
    ):
        kbert.explain(model, "the film is bad")


def test_what_repeats_a_run_is_a_command_where_one_says_it_all(tmp_path):
    path = tmp_path / "moods.csv"
    TABLE.to_csv(path, index=False)
    found = plan(path, long_text="windows", windows={"window_pooling": "max"})
    command = write_command(found)
    assert command.startswith(f"kbert train {path} --task classify --text text")
    assert "--long-text windows --window-pooling max" in command
    weighed = plan(path, class_weight={0: 1.0, 1: 3.0}, data={"reading": {"drop": ()}})
    call = write_command(weighed)
    assert call.startswith(f"kbert.train({str(path)!r}, ")
    assert "class_weight={0: 1.0, 1: 3.0}" in call
    seen = {}
    stand_in = types.SimpleNamespace(train=lambda *a, **k: seen.update(k, source=a))
    eval(call, {"kbert": stand_in})
    assert seen["class_weight"] == {0: 1.0, 1: 3.0} and seen["source"] == (str(path),)


def test_windows_are_as_asked_and_stored():
    asked = {"window_overlap": 3, "window_pooling": "max", "max_windows": None}
    found = plan(TABLE, long_text="windows", windows=asked)
    model = build_model(found)
    assert model.preprocessor.windows.overlap == 3
    stored = describe_plan(found, model)
    assert (stored["window_overlap"], stored["window_pooling"]) == (3, "max")
    assert stored["max_windows"] == 8
    command = write_command(found)
    assert command.startswith("kbert.train(data, task='classify', text='text'")
    assert "window_overlap=3, window_pooling='max'" in command
    assert "max_windows" not in command
    assert "window_overlap" not in describe_plan(plan(TABLE), build_model(plan(TABLE)))
    with pytest.raises(ValueError, match="window_overlap must be .* received 99"):
        plan(TABLE, long_text="windows", windows={"window_overlap": 99})
    with pytest.raises(ValueError, match=r"\(--window-pooling\) is for long_text='wi"):
        plan(TABLE, windows={"window_pooling": "max"})


@pytest.mark.slow
def test_labels_that_are_likely_wrong_are_said_first_and_are_in_the_report(capsys):
    pytest.importorskip("cleanlab")
    wrong = TABLE.assign(
        label=[1 - n if row < 4 else n for row, n in enumerate(LABELS)]
    )
    asked = plan(wrong, check_labels=True, data={"validation": 0, "test": 0})
    found = find_label_errors(asked)
    shown = capsys.readouterr().out
    rows = found.label_errors.rows["train"].tolist()
    assert f"Labels    {len(rows)} rows (" in shown and f"train {rows[0]} (lab" in shown
    checks = check_data(found, build_model(found)).to_json()
    (check,) = (one for one in checks if one["kind"] == "label_errors")
    assert [one["row"] for one in check["rows"]] == rows
    assert write_command(found).endswith("--check-labels")


def test_labels_of_scores_are_not_checked():
    with pytest.raises(ValueError, match="for classes; the task regress has none"):
        plan(SCORES, check_labels=True)
