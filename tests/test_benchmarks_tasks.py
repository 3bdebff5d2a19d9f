"""Tagging, scoring and answering are compared on equal terms: model, rows, decoding."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import training
from benchmarks.keras_sides import KbertSide
from benchmarks.tasks import Task, build_task, encode_windows, select_rows
from benchmarks.trainer_side import TrainerSide
from benchmarks.transformers_model import build_tokenizer, build_transformers_model
from benchmarks.verdicts import find_baseline, judge, measure_workload
from benchmarks.workloads import load_parts, load_workload
from kbert.tasks import Request, answer

NAMES = ("ner", "stsb", "squad")
SIZE = 4


@pytest.fixture(scope="module")
def tasks():
    """Tiny tasks of the bundled sample, whose outputs are far from even."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KBERT_TEST_DATA", "absent")
        return {name: build_tiny(name) for name in (*NAMES, "tweets")}


def build_tiny(name: str) -> Task:
    task = build_task(
        workload=name, preset="tiny-random", batch_size=SIZE, device="cpu",
        precision="float32", max_length=40, limit=24,
    )  # fmt: skip
    larger = {
        path: array * 20 if path.endswith("/kernel") else array
        for path, array in task.weights.items()
    }
    return replace(task, weights=larger)


def choose_rows(task: Task) -> np.ndarray:
    """Return two batches; of questions full windows, as transformers reads padding."""
    rows = np.random.default_rng(0).permutation(len(task.lengths))
    if task.workload.kind == "answer":
        rows = rows[task.lengths[rows] == task.max_length]
    return rows[: 2 * SIZE]


def build_trainer_side(task: Task, name: str = "trainer-dynamic") -> TrainerSide:
    """Return transformers' side as it is before its first step."""
    side = TrainerSide(task, name)
    side._model = build_transformers_model(task).eval()
    return side


def collate(side: TrainerSide, rows: np.ndarray) -> list[dict]:
    """Return the Trainer's batches."""
    dataset, collator = side._build_dataset(rows), side._build_collator()
    starts = range(0, len(rows), SIZE)
    return [dict(collator(dataset[start : start + SIZE])) for start in starts]


@pytest.mark.parametrize("way", ["trainer", "trainer-dynamic"])
@pytest.mark.parametrize("name", [*NAMES, "tweets"])
def test_both_sides_have_the_same_loss_on_the_same_batches(name, way, tasks):
    task = tasks[name]
    rows = choose_rows(task)
    ours, theirs = KbertSide(task), build_trainer_side(task, way)
    ours.compile("sgd")
    inputs, labels, _ = ours.prepare(rows)
    model, parts = theirs._model, collate(theirs, rows)
    assert len(parts) == 2
    expected = [model(**part).loss.item() for part in parts]
    if task.windows is None:
        found = [
            ours.model.evaluate(inputs[start:stop], labels[start:stop], verbose=0)
            for start, stop in ((0, SIZE), (SIZE, None))
        ]
    else:
        found = [ours.model.test_on_batch(*inputs[index]) for index in range(2)]
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-3  # it depends on the rows


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_give_the_same_outputs_and_their_loss_is_the_models(name, tasks):
    task = tasks[name]
    rows = np.arange(12)  # of several lengths
    ours, theirs = KbertSide(task), build_trainer_side(task)
    outputs = [side.predict(rows) for side in (ours, theirs)]
    losses = [training.measure_loss(one, task, rows) for one in outputs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    ours.compile("sgd")
    inputs, labels, _ = ours.prepare(rows)
    if task.windows is None:
        own = ours.model.evaluate(inputs, labels, verbose=0)
    else:
        own = ours.model.test_on_batch(task.encoded[rows].pad(), *task.label(rows))
    assert losses[0] == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize("name", ["ner", "squad"])
def test_both_sides_train_on_the_same_windows_in_the_same_order(name, tasks):
    task = tasks[name]
    rows = np.random.default_rng(0).permutation(len(task.lengths))[: 2 * SIZE]
    batches = KbertSide(task).prepare(rows)[0]
    assert len(batches) == 2
    batches.start_epoch(0)  # as `fit` does
    for index, part in enumerate(collate(TrainerSide(task, "trainer-dynamic"), rows)):
        arrays, labels, *weights = batches[index]
        np.testing.assert_array_equal(arrays["token_ids"], part["input_ids"])
        np.testing.assert_array_equal(arrays["padding_mask"], part["attention_mask"])
        np.testing.assert_array_equal(arrays["segment_ids"], part["token_type_ids"])
        if name == "squad":
            places = [part["start_positions"], part["end_positions"]]
            np.testing.assert_array_equal(labels, np.stack(places, axis=1))
            continue
        counts = part["labels"] >= 0
        np.testing.assert_array_equal(weights[0] > 0, counts)
        np.testing.assert_array_equal(labels[counts], part["labels"][counts])


def test_the_trainers_tags_are_padded_with_what_its_loss_leaves_out(tasks):
    task = tasks["ner"]
    part = collate(TrainerSide(task, "trainer"), np.arange(SIZE))[0]
    assert part["labels"].shape == part["input_ids"].shape == (SIZE, task.max_length)
    assert (part["labels"][part["attention_mask"] == 0] == -100).all()


@pytest.mark.parametrize("name", ["ner", "squad"])
def test_outputs_of_both_sides_are_put_together_alike(name, tasks):
    task = tasks[name]
    predict, part = task.problem.task.predict, task.workload.part
    assert len(task.windows) > len(part)  # some take several
    ours = predict(KbertSide(task).model, part)
    theirs = predict(task.stand_in(build_trainer_side(task).predict_on_batch), part)
    figures = [measure_workload(task.workload, one) for one in (ours, theirs)]
    assert figures[0] == pytest.approx(figures[1])
    for one, other in zip(ours, theirs, strict=True):
        if name == "ner":
            assert one.tags == other.tags
        else:
            assert (one.text, one.start) == (other.text, other.start)


def test_windows_of_some_rows_are_those_rows_windows(tasks):
    task = tasks["squad"]
    rows = np.array([5, 2, 2])
    selected = select_rows(task, rows)
    whole = encode_windows(task, task.stand_in())
    expected = np.concatenate([np.flatnonzero(whole.questions == row) for row in rows])
    np.testing.assert_array_equal(selected.encoded.ids, whole.encoded[expected].ids)
    np.testing.assert_array_equal(selected.windows.answers, whole.answers[expected])


def test_what_is_right_gets_the_best_figures(tasks):
    for name, figures in (("stsb", ("pearson", "spearman")), ("ner", ("f1",))):
        workload = tasks[name].workload
        if name == "stsb":
            right = workload.labels[:, None]
        else:
            part = workload.part
            model = tasks[name].stand_in()
            model.predict_on_batch = _GoldTags(tasks[name])
            right = tasks[name].problem.task.predict(model, part)
        found = measure_workload(workload, right)
        assert [found[one] for one in figures] == pytest.approx([1.0] * len(figures))


class _GoldTags:
    """Gives the right tags, batch after batch, as `WindowBatches` orders windows."""

    def __init__(self, task: Task):
        self._task = task
        self._order = list(np.argsort(-task.lengths, kind="stable"))

    def __call__(self, arrays):
        count = len(arrays["token_ids"])
        rows = np.array(self._order[:count])
        del self._order[:count]
        labels, _ = self._task.label(rows)
        return np.eye(self._task.workload.num_classes, dtype="float32")[labels]


def test_without_training_a_score_shows_nothing(tasks):
    assert find_baseline(tasks["stsb"].workload) == 0
    assert find_baseline(tasks["tweets"].workload) >= 0.5
    assert judge([True, True], [0.0, 0.0], 0.0) == (False, None)


@pytest.mark.parametrize("name", ["ner", "squad"])
def test_stock_keras_has_no_model_for_tokens_and_says_so(name, capsys):
    with pytest.raises(SystemExit):
        training.main(["--workload", name, "--against", "keras", "--quick"])
    assert "needs a head on every token" in capsys.readouterr().err


def test_special_tokens_of_both_sides_are_the_same(tasks):
    tokenizer = build_tokenizer(tasks["squad"])
    own = tasks["squad"].preset.tokenizer
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id) == (
        own.pad_id,
        own.start_id,
    )


# === The workloads ===


def test_scores_have_mean_0_and_deviation_1_on_the_rows_to_train_on(shared_data):
    shared_data("stsb")
    workload, train, held_out = load_parts("stsb")
    assert (len(train), len(held_out)) == (5749, 1379)
    labels = workload.labels
    assert labels.dtype == np.float32
    assert labels[train].mean() == pytest.approx(0, abs=1e-4)
    assert labels[train].std() == pytest.approx(1, abs=1e-4)
    # The held-out ones are on the same scale, not on one of their own.
    assert abs(labels[held_out].mean()) > 0.01
    assert load_workload("stsb").labels.std() == pytest.approx(1, abs=1e-4)


def test_sentences_are_parted_as_published(shared_data):
    shared_data("ner")
    workload, train, held_out = load_parts("ner", limit=3000)
    assert (len(workload), len(train), len(held_out)) == (17494, 3000, 3000)
    assert (train.max(), held_out.min()) == (2999, 14041)
    assert workload.num_classes == len(workload.label_names) == 9
    assert workload.part.take(held_out).labels[0].max() < 9


@pytest.mark.slow
def test_articles_are_parted_as_the_task_does(shared_data):
    path = shared_data("squad") / "dev-v1.1.json"
    workload, train, held_out = load_parts("squad")
    parts = [workload.part.take(rows) for rows in (train, held_out)]
    assert not set(parts[0].groups) & set(parts[1].groups)
    splits = answer.TASK.load(Request(source=path, validation=None, test=0.2))
    assert set(parts[1].rows) == set(splits.test.rows)
    assert len(parts[0]) == len(splits.train)
