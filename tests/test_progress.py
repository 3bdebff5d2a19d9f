"""The progress bar: on a terminal, in a pipe, and in numbers."""

import io

import pytest

from kbert import callbacks, status_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    monkeypatch.setattr(status_line, "time", clock)
    monkeypatch.setenv("COLUMNS", "120")
    return clock


def train(progress, clock, *, epochs=2, steps=4, seconds_a_step=5.0):
    progress.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
    progress.on_train_begin()
    for epoch in range(epochs):
        progress.on_epoch_begin(epoch)
        for step in range(steps):
            clock.now += seconds_a_step
            progress.on_train_batch_end(step, {"loss": 0.5, "accuracy": 0.75})
        progress.on_epoch_end(epoch, {"loss": 0.5, "val_accuracy": 0.8})
    progress.on_train_end()


def test_a_log_gets_a_line_every_ten_seconds_and_one_an_epoch(clock):
    stream = io.StringIO()
    train(callbacks.Progress(128, stream=stream), clock)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2"] * 3 + [
        "epoch 2/2"
    ] * 3
    assert lines[0] == (
        "epoch 1/2  [##########..........]  2/4  loss 0.5000  accuracy 0.7500  "
        "6 texts/s  30 s left"
    )
    assert lines[2] == "epoch 1/2  loss 0.5000  val_accuracy 0.8000  6 texts/s  20 s"


def test_a_terminal_gets_one_line_that_is_redrawn(clock):
    stream = Terminal()
    train(callbacks.Progress(128, stream=stream), clock)
    written = stream.getvalue()
    assert written.count("\n") == 2
    assert written.count("\r") == 8 + 2
    # A shorter line wipes what the longer one before it left.
    drawn = written.split("\n")[0].split("\r")[1:]
    assert len(drawn[-1]) >= len(drawn[-2].rstrip())


def test_the_time_left_ends_at_zero(clock):
    stream = Terminal()
    train(callbacks.Progress(128, stream=stream), clock)
    assert "0.0 s left" in stream.getvalue().split("\r")[-2]


def test_epochs_are_kept_for_the_report(clock):
    progress = callbacks.Progress(128, stream=io.StringIO())
    train(progress, clock)
    assert progress.finished
    assert progress.epochs[1] == {
        "epoch": 2,
        "loss": 0.5,
        "val_accuracy": 0.8,
        "seconds": 20.0,
    }


def test_training_that_goes_on_counts_its_own_epochs(clock):
    stream = Terminal()
    progress = callbacks.Progress(128, stream=stream)
    progress.set_params({"epochs": 4, "steps": 4})
    progress.on_train_begin()
    progress.on_epoch_begin(2)
    clock.now += 5
    progress.on_train_batch_end(0, {})
    assert "epoch 3/4" in stream.getvalue() and "35 s left" in stream.getvalue()


def test_a_generator_without_a_length_still_shows_its_speed(clock):
    stream = Terminal()
    train(callbacks.Progress(stream=stream), clock, steps=4)
    progress = callbacks.Progress(stream=stream)
    progress.set_params({"epochs": 1, "steps": None})
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    clock.now += 2
    progress.on_train_batch_end(0, {"loss": 1.0})
    assert stream.getvalue().endswith("epoch 1/1  step 1  loss 1.0000  0.5 steps/s")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (4.21, "4.2 s"),
        (42.3, "42 s"),
        (185, "3 min 05 s"),
        (4320, "1 h 12 min"),
        (float("inf"), "?"),
    ],
)
def test_durations_read_as_people_say_them(seconds, words):
    assert callbacks.format_seconds(seconds) == words
