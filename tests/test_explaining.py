"""Attributions sum to what they explain, for every family, head and text."""

import json
import re
import sys

import keras
import numpy as np
import pytest
import tiny

import kbert
from kbert.commands.explain import Flags
from kbert.commands.main import main
from kbert.explaining import (
    TOLERANCE,
    Explanation,
    Piece,
    Segment,
    cut_segments,
    segment_text,
)

pytest.importorskip("captum")
TEXT = "The film was very good, but the ENDING is dull: awfuls!"
FAMILIES = ["bert", "distil_bert", "roberta"]


@pytest.fixture(scope="module")
def models():
    """One model a family, its weights large enough for a curved way."""
    found = {}
    for family in FAMILIES:
        found[family] = tiny.build_model(family, compile=False)
        kernel = found[family].layers[-1].kernel
        kernel.assign(np.random.default_rng(1).normal(size=kernel.shape) * 3)
    return found


def assert_adds_up(explanation: Explanation) -> None:
    shift = explanation.value - explanation.baseline_value
    assert abs(explanation.total - shift) <= TOLERANCE * abs(shift)
    assert explanation.converged and explanation.gap <= TOLERANCE
    words = sum(word.attribution for word in explanation.words)
    assert words == pytest.approx(explanation.total, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_attributions_sum_to_the_difference_of_the_logits(models, family):
    model = models[family]
    for text, pair in ((TEXT, None), ("the film is bad", "so very good and warm")):
        found = kbert.explain(model, text, pair)
        assert_adds_up(found)
        # The difference is the model's own: of the text, and of a text of padding.
        inputs = [text] if pair is None else ([text], [pair])
        probabilities = model.predict(inputs)[0].astype(float)
        target = int(probabilities.argmax())
        log_odds = np.log(probabilities[target] / probabilities[1 - target])
        assert found.value == pytest.approx(log_odds, abs=1e-4)
        assert found.probability == pytest.approx(probabilities[target], abs=1e-6)
        encoded = model.preprocessor.encode([text], None if pair is None else [pair])
        arrays = encoded.pad()
        special = [model.preprocessor.tokenizer.start_id, 3]
        ids = arrays["token_ids"]
        arrays["token_ids"] = np.where(np.isin(ids, special), ids, 0)
        empty = model.predict(arrays)[0].astype(float)
        expected = np.log(empty[target] / empty[1 - target])
        assert found.baseline_value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_every_pooling_is_explained(pooling):
    model = tiny.build_model(pooling=pooling, compile=False)
    assert_adds_up(kbert.explain(model, TEXT))


def test_several_labels_and_scores_are_explained():
    names = ["sad", "glad", "mad"]
    many = tiny.build_model(label_names=names, compile=False)
    found = kbert.explain(many, TEXT, target="mad")
    assert_adds_up(found)
    probability = float(many.predict([TEXT])[0, 2])
    assert found.target == "mad" and found.predicted in names
    log_odds = np.log(probability / (1 - probability))
    assert found.value == pytest.approx(log_odds, abs=1e-4)
    head = keras.layers.Dense(3, activation="sigmoid")
    labels = tiny.build_model(label_names=names, head=head, compile=False)
    found = kbert.explain(labels, TEXT, target=1)
    assert_adds_up(found)
    probability = float(labels.predict([TEXT])[0, 1])
    log_odds = np.log(probability / (1 - probability))
    assert found.value == pytest.approx(log_odds, abs=1e-4)
    base = tiny.build_model(compile=False)
    score = kbert.Model(base.input, keras.layers.Dense(1)(base.layers[-2].output))
    score.preprocessor = base.preprocessor
    found = kbert.explain(score, TEXT)
    assert_adds_up(found)
    assert (found.target, found.quantity) == ("score", "score")
    assert found.value == pytest.approx(float(score.predict([TEXT])[0, 0]), abs=1e-4)
    assert found.probability is None and "score: " in str(found)


def test_what_is_explained_is_what_a_model_predicts_by_its_threshold(models):
    model = models["bert"]
    names, probability = model.label_names, float(model.predict([TEXT])[0, 1])
    for shift, number in ((-1e-3, 1), (1e-3, 0)):
        model.metadata = {"threshold": probability + shift}
        found = kbert.explain(model, TEXT)
        assert found.predicted == found.target == names[number]
    model.metadata = {}
    head = keras.layers.Dense(2, activation="sigmoid")
    labels = tiny.build_model(head=head, compile=False)
    labels.task = "multilabel"
    first, second = labels.predict([TEXT])[0].astype(float)
    labels.metadata = {"thresholds": [first + 1e-3, second - 1e-3]}
    assert kbert.explain(labels, TEXT).predicted == labels.label_names[1]
    labels.metadata = {"thresholds": [first - 1e-3, second + 1e-3]}
    assert kbert.explain(labels, TEXT).predicted == labels.label_names[0]


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_every_window_of_a_text_is_explained(mode):
    windows = {"max_length": 8, "window_overlap": 2, "window_pooling": mode}
    model = tiny.build_model(long_text="windows", compile=False, **windows)
    kernel = model.get_layer("logits").kernel
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape) * 3)
    found = kbert.explain(model, TEXT)
    assert_adds_up(found)
    assert len(found.tokens) > 8 and found.num_left_out == 0
    assert [word.text for word in found.words] == re.findall(r"\w+|[^\w\s]", TEXT)
    if mode == "mean":  # every token moves the mean
        assert all(token.attribution for token in found.tokens)
    shares = model.predict([TEXT])[0]
    number = model.label_names.index(found.predicted)
    assert found.probability == pytest.approx(float(shares[number]), abs=1e-5)
    log_odds = np.log(shares[number] / shares[1 - number])
    assert found.value == pytest.approx(float(log_odds), abs=1e-3)
    assert kbert.explain(model, "film " * 200).num_left_out > 0
    assert_adds_up(kbert.explain(model, "good"))


def test_words_are_put_together_from_their_pieces(models):
    found = kbert.explain(models["bert"], TEXT)
    assert found.texts == (TEXT,)
    words = [word.text for word in found.words]
    assert words == re.findall(r"\w+|[^\w\s]", TEXT)
    assert all(TEXT[w.start : w.end] == w.text for w in found.words)
    assert len(found.tokens) > len(found.words)  # awful ##s
    joined = "".join(segment.text for segment in found.segments()[0])
    assert joined == TEXT


def test_what_adds_has_a_sign_that_is_seen_without_colour(models, monkeypatch):
    found = kbert.explain(models["bert"], TEXT)
    strongest = max(found.words, key=lambda word: abs(word.attribution))
    sign = "+" if strongest.attribution > 0 else "-"
    assert f"[{sign}{strongest.text}]" in str(found) and "\x1b" not in str(found)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;3" in str(found)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in str(found)
    page = found._repr_html_()
    line = "solid" if sign == "+" else "dashed"
    assert re.search(rf'border-bottom:2px {line}"[^>]*>{strongest.text}</bdi>', page)


def test_a_hostile_text_is_neither_markup_nor_a_command_to_a_terminal(models):
    hostile = "<script>good</script> \x1b[31m bad \x00 \udc80 \u202e film & \"'"
    found = kbert.explain(models["bert"], hostile)
    assert "\x1b" not in str(found) and "\x00" not in str(found)
    page = found._repr_html_()
    assert "<script" not in page and "\x1b" not in page
    assert page.encode("utf-8")
    assert json.loads(json.dumps(found.to_json()))["words"]


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "!" * 300, "film " * 200, "\u4f60\u597d"]
)
def test_odd_texts_are_explained(models, text):
    found = kbert.explain(models["bert"], text)
    assert len("".join(s.text for s in found.segments()[0])) == len(text)
    assert (found.num_left_out > 0) == (len(text) > 100)
    if found.num_left_out:
        assert "leaves out" in str(found)


def test_steps_are_doubled_until_it_adds_up_or_it_says_so(models, monkeypatch):
    from kbert.explaining import integrated

    one = kbert.explain(models["bert"], TEXT, steps=1)
    assert_adds_up(one)
    monkeypatch.setattr(integrated, "TOLERANCE", 0.0)
    monkeypatch.setattr(integrated, "MAX_STEPS", 8)
    found = kbert.explain(models["bert"], TEXT, steps=2)
    assert found.num_steps == 8 and not found.converged
    assert "off after 8 steps" in str(found) and "off after 8" in found._repr_html_()


def test_a_mask_can_stand_for_no_word(models):
    padded, masked = (
        kbert.explain(models["bert"], TEXT, baseline=name) for name in ("pad", "mask")
    )
    assert_adds_up(masked)
    assert padded.baseline_value != masked.baseline_value
    assert padded.value == masked.value


def test_cleaning_comes_first():
    model = tiny.build_model(clean=["lowercase"], compile=False)
    assert kbert.explain(model, "GOOD Film").texts == ("good film",)


def test_explaining_leaves_the_model_as_it_was(models):
    model = models["bert"]
    before, weights = model.predict([TEXT]), tiny.read_weights(model)
    kbert.explain(model, TEXT)
    tiny.assert_same_weights(model, weights)
    np.testing.assert_array_equal(model.predict([TEXT]), before)
    assert all(one.value.grad is None for one in model.trainable_weights)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"target": "glad"}, "no label 'glad'; it has 'negative', 'positive'"),
        ({"target": 2}, r"label id in \[0, 2\) or a label's name; received 2"),
        ({"steps": 0}, "steps must be at least 1; received 0"),
        ({"baseline": "zero"}, "baseline must be 'pad' or 'mask'; received 'zero'"),
    ],
)
def test_a_wrong_argument_is_a_sentence(models, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kbert.explain(models["bert"], TEXT, **arguments)


def test_models_that_cannot_be_explained_say_why(models):
    model = models["bert"]
    words = kbert.Model(model.input, model.backbone.output["sequence_output"])
    with pytest.raises(ValueError, match="set preprocessor"):
        kbert.explain(words, TEXT)
    words = kbert.Model(model.input, model.layers[-1].output)
    words.preprocessor = model.preprocessor
    with pytest.raises(ValueError, match=r"texts\[0\] must be a string"):
        kbert.explain(words, 3)


def test_without_captum_there_is_a_command_to_get_it(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(RuntimeError, match=r"run pip install kbert\[trust\]"):
        kbert.explain(models["bert"], TEXT)


def test_segments_are_the_text():
    words = [{"text": "b", "attribution": -2.0, "part": "text", "start": 1, "end": 2}]
    found = segment_text("abc", "text", words)
    assert found == [Segment("a"), Segment("b", -2.0, -1.0), Segment("c")]
    assert found[1].is_marked and not found[0].is_marked
    assert cut_segments(found, 2) == [*found[:2], Segment("…")]
    assert cut_segments(found, 3) == found
    assert segment_text("abc", "text_pair", words) == [Segment("abc")]
    assert Piece("b", -2.0, "text", 1, 2).attribution == -2.0


# === The command ===


@pytest.fixture(scope="module")
def run_folder(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    models["bert"].save(folder / "model.keras")
    return folder


def test_a_run_and_its_path_are_explained_as_their_model_is(models, run_folder):
    expected = str(kbert.explain(models["bert"], TEXT))
    run = kbert.TrainedRun(run_folder, {"task": "classify"}, {})
    for source in (run, run_folder, str(run_folder / "model.keras")):
        assert str(kbert.explain(source, TEXT)) == expected
    assert str(run.explain(TEXT)) == expected
    held = kbert.TrainedRun(run_folder / "gone", {}, {}, model=models["bert"])
    assert str(kbert.explain(held, TEXT)) == expected
    with pytest.raises(ValueError, match="kbert.Model, a run or the path .*received i"):
        kbert.explain(3, TEXT)


def test_the_command_prints_an_explanation(run_folder, capsys):
    assert main(["explain", str(run_folder), TEXT]) == 0
    shown = capsys.readouterr().out
    assert "log odds of" in shown and "[+" in shown


def test_the_command_prints_one_json_object_and_writes_a_page(
    run_folder, tmp_path, capsys
):
    page = tmp_path / "why.html"
    flags = ["--json", "--target", "negative", "--out", str(page)]
    assert main(["explain", str(run_folder / "model.keras"), TEXT, *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "negative" and len(found["words"]) == 14
    text = page.read_text("utf-8")
    assert "Every word" in text and not re.search("<script|https?:", text)
    assert [one.name for one in tmp_path.iterdir()] == ["why.html"]


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["{empty}", TEXT], 1, "there is no model file in"),
        (["{run}", TEXT, "--target", "x"], 2, "the model has no label 'x'"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    run_folder, tmp_path, capsys, flags, code, sentence
):
    places = {"empty": str(tmp_path), "run": str(run_folder)}
    assert main(["explain", *(flag.format(**places) for flag in flags)]) == code
    shown = capsys.readouterr()
    assert sentence in shown.err and shown.err.count("\n") == 1 and not shown.out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"steps": 0}, "--steps must be at least 1; received 0"),
        ({"out": "a.txt"}, "--out must end in .html; received 'a.txt'"),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        Flags(run="run", text=TEXT, **flags)


@pytest.mark.slow
def test_the_embedded_preset_adds_up_on_real_texts(shared_data):
    kbert.set_seed(0)
    model = kbert.build_classifier("all_minilm_l6_v2_en", ["bad", "good"])
    kernel = model.layers[-1].kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    part = kbert.load_split(shared_data("sst2") / "validation.csv", text="sentence")
    for text in part[:8].texts:
        assert_adds_up(kbert.explain(model, text, steps=16))
