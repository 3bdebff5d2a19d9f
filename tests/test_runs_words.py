"""Tagged words and answers through training, evaluation and prediction."""

import io
import json
import sys
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

import kbert
from kbert.commands.main import main
from kbert.runs.best_epoch import KeepBest, choose_epoch, rank_epoch
from kbert.runs.outcome import find_kept_epoch
from kbert.tasks import Request, find_task
from kbert.tasks.answer import Answer

TEXTS, _ = tiny.write_texts(60)
SETTINGS = {"epochs": 2, "learning_rate": 3e-3, "precision": "float32"}


def write_conll(path, texts) -> None:
    lines = []
    for text in texts:
        for place, word in enumerate(text.split()):
            lines.append(f"{word} X {'B-LONG' if place % 3 == 1 else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def write_squad(path, texts) -> None:
    articles = [
        {
            "title": f"t{number}",
            "paragraphs": [
                {
                    "context": text,
                    "qas": [
                        {
                            "id": f"q{number}",
                            "question": "what is it",
                            "answers": [{"text": text.split()[0], "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
        for number, text in enumerate(texts)
    ]
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of each of the two tasks, from a file, its task guessed."""
    folder = tmp_path_factory.mktemp("words")
    write_conll(folder / "tag.txt", TEXTS)
    write_squad(folder / "answer.json", TEXTS)
    return {
        name: kbert.train(
            folder / file, preset=tiny.build_preset(), out=folder / name, **SETTINGS
        )
        for name, file in (("tag", "tag.txt"), ("answer", "answer.json"))
    }


def test_both_tasks_are_guessed_trained_and_reported(runs):
    for name, run in runs.items():
        assert run.task.name == name and run.split == "test"
        page = (run.path / "report.html").read_text("utf-8")
        for headline in run.task.headlines[:2]:
            assert run.metrics[headline]["value"] is not None
        assert "The mistakes it was surest of" in page or name == "answer"
        rows = pd.read_csv(run.path / "predictions.csv")
        assert len(rows) == run.metrics["num_examples"]
        trust = run.report["trust"]
        assert trust["baseline"]["num_examples"] == len(rows) and not trust["notes"]
        assert trust["baseline"]["sentence"] in page
        if trust["baseline"]["verdict"] != "better":
            first = page.split("<main>")[1][:600]
            assert trust["warning"] in " ".join(first.split())
        assert "Where it is weak" in page or not trust["slices"]
    assert runs["tag"].report["trust"]["confusions"]
    names = [one["name"] for one in runs["answer"].report["trust"]["slices"]]
    assert names == ["question word", "length of the text"]
    counts = runs["tag"].report["data"]["label_counts"]["train"]
    assert set(counts) == {"O", "B-LONG"} and counts["O"] > counts["B-LONG"] > 0


def test_files_of_the_tasks_own_form_are_measured_and_predicted(
    runs, tmp_path, monkeypatch
):
    monkeypatch.setattr("kbert.runs.evaluation._CHUNK_ROWS", 4)
    write_conll(tmp_path / "new.txt", TEXTS[:9])
    write_squad(tmp_path / "new.json", TEXTS[:9])
    for name, file in (("tag", "new.txt"), ("answer", "new.json")):
        run = kbert.load_run(runs[name].path)
        figures = kbert.evaluate(run, tmp_path / file)
        assert figures["num_examples"] == 9 and "95 % interval" in str(figures)
        out = tmp_path / f"{name}.jsonl"
        assert kbert.predict(run, tmp_path / file, out).num_rows == 9
        rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        assert len(rows) == 9
        if name == "tag":
            assert {"tokens", "tags", "predicted_tags", "entities"} == set(rows[0])
            assert rows[0]["tokens"] == TEXTS[0].split()
        else:
            assert rows[3]["id"] == "q3" and rows[3]["context"] == TEXTS[3]
            assert {"answer", "start", "probability"} <= set(rows[0])
        with pytest.raises(ValueError, match=r"written as \.jsonl; name the file"):
            kbert.predict(run, tmp_path / file, tmp_path / "out.csv")


def test_wrong_answers_are_shown_the_surest_first():
    task = find_task("answer")
    table = {
        "question": ["what"] * 3,
        "context": ["a cat sat"] * 3,
        "answer": ["cat"] * 3,
    }
    part = task.read(Request(source=pa.table(table)))
    given = [
        Answer("a", 0, 1, 0.3),
        Answer("cat", 2, 5, 0.9),
        Answer("", None, None, 0.6),
    ]
    found = task.find_mistakes(part, given)
    assert [one["row"] for one in found] == [2, 0]
    assert [one["predicted_name"] for one in found] == ["no answer", "a"]
    assert found[0]["label_name"] == "cat" and found[0]["text_pair"] == "a cat sat"


def test_tables_and_streams_are_predicted_too(runs, tmp_path, capsys, monkeypatch):
    table = tmp_path / "q.csv"
    frame = pd.DataFrame({"context": TEXTS[:5], "question": ["what"] * 5})
    frame.to_csv(table, index=False)
    found = runs["answer"].predict(table)
    assert list(found)[:3] == ["context", "question", "answer"] and len(found) == 5
    assert runs["answer"].predict(frame).answer.tolist() == found.answer.tolist()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the film\n")))
    runs["tag"].predict("-", "-")
    row = json.loads(capsys.readouterr().out)
    assert row["text"] == "the film" and isinstance(row["entities"], list)
    assert len(runs["tag"].predict(["the film", "a plot"])) == 2


def test_eight_bits_reach_every_task_and_say_what_they_change(runs, tmp_path, caplog):
    table, outs = tmp_path / "q.csv", [tmp_path / "a.csv", tmp_path / "b.csv"]
    frame = pd.DataFrame({"context": TEXTS[:9], "question": ["what"] * 9})
    frame.to_csv(table, index=False)
    words = ["predict", str(runs["answer"].path), str(table), "--out"]
    assert main([*words, str(outs[0])]) == 0 and not caplog.messages
    assert main([*words, str(outs[1]), "--int8"]) == 0
    exact, rounded = (pd.read_csv(out)["probability"] for out in outs)
    assert 0 < (exact - rounded).abs().max() < 0.05
    assert "% of the first 9 rows have the answer that they" in caplog.messages[-1]
    runs["tag"].predict(TEXTS[:3], quantize="int8")
    assert "% of the first 3 rows have the tags that they" in caplog.messages[-1]
    with pytest.raises(TypeError, match="'quantise'; data are read with encoding"):
        runs["tag"].predict(TEXTS[:3], quantise="int8")


def log_epochs(*pairs):
    return [{"val_accuracy": a, "val_loss": b} for a, b in pairs]


def test_of_epochs_that_few_rows_cannot_tell_apart_the_last_is_kept():
    task = find_task("classify")
    logs = log_epochs((0.5, 0.7), (0.8, 0.6), (0.82, 0.5), (0.79, 0.9), (0.7, 0.9))
    # one standard error: .050 on 60 rows, .005 on 6,000
    assert choose_epoch(task, logs, 60) == 3
    assert choose_epoch(task, logs, 6_000) == 2
    # all right on ten rows: one wrong of ten is no worse
    assert choose_epoch(task, log_epochs((1.0, 0.1), (0.9, 0.2)), 10) == 1
    lost = log_epochs((float("nan"), 1.0), (float("nan"), float("nan")))
    assert choose_epoch(task, lost, 10) == 0
    plan = SimpleNamespace(task=task, splits=SimpleNamespace(validation=range(60)))
    numbered = [{"epoch": i, **one} for i, one in enumerate(logs, 1)]
    epoch, reason = find_kept_epoch(plan, numbered)
    assert epoch == 4 and "60 validation rows cannot tell from the best" in reason
    assert find_kept_epoch(plan, numbered[:3]) == (3, "")
    # no share of the texts: the best it is
    losses = [{"val_loss": loss} for loss in (0.5, 0.3, 0.31)]
    assert choose_epoch(find_task("regress"), losses, 10) == 1


@given(
    shares=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    losses=st.lists(st.floats(0, 5), min_size=12, max_size=12),
)
def test_the_epoch_kept_while_training_is_the_one_that_its_history_gives(
    shares, losses
):
    task = find_task("classify")
    logs = log_epochs(
        *((share / 30, loss) for share, loss in zip(shares, losses, strict=False))
    )
    held = SimpleNamespace(get_weights=lambda: kept["now"], stop_training=False)
    kept = {}
    held.set_weights = lambda weights: kept.update(end=weights)
    keeper = KeepBest(task, patience=99, num_rows=30)
    keeper.set_model(held)
    for number, one in enumerate(logs):
        kept["now"] = [number]
        keeper.on_epoch_end(number, one)
    keeper.on_train_end()
    assert kept["end"] == [choose_epoch(task, logs, 30)]


def test_training_stops_when_no_better_epoch_comes():
    task = find_task("classify")
    logs = log_epochs((0.5, 0.7), (0.8, 0.6), (0.8, 0.5), (0.8, 0.9), (0.7, 0.1))
    ranks = [rank_epoch(task, one) for one in logs]
    assert ranks.index(max(ranks)) == 2
    assert rank_epoch(task, {"val_accuracy": float("nan")}) < min(ranks)
    score = find_task("regress")
    assert rank_epoch(score, {"val_loss": 1}) > rank_epoch(score, {"val_loss": 2})
    model = tiny.build_model()
    keeper = KeepBest(task, patience=2, num_rows=100)
    keeper.set_model(model)
    head = model.layers[-1]
    kernel, bias = head.get_weights()
    for number, one in enumerate(logs):
        head.set_weights([kernel, bias * 0 + number])
        model.stop_training = False
        keeper.on_epoch_end(number, one)
        if model.stop_training:
            break
    assert number == 4
    keeper.on_train_end()
    assert (head.get_weights()[1] == 3).all()  # no worse than 2, by 100 rows
