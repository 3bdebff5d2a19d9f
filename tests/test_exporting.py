"""Exported folders against transformers and onnxruntime, and read back."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from exporting_case import (
    PAIRS,
    TEXTS,
    build_bytes_classifier,
    build_classifier,
    build_task,
    predict_tokens,
    softmax,
)

import kbert
from kbert.commands.main import main
from kbert.exporting import card, comparison, hugging_face
from kbert.exporting.onnx_folder import ExportedModel
from kbert.models import pool
from kbert.presets import PresetError
from kbert.tasks import find_task
from kbert.tasks.answer_data import Gold, Questions
from kbert.tasks.tag_data import Sentences

FAMILIES = ("bert", "distil_bert", "roberta")
QUICK = [("bert", "mean"), ("bert", "pooler"), ("distil_bert", "mean")]
QUICK += [("roberta", "cls")]
OTHERS = [("bert", "cls"), ("distil_bert", "cls"), ("roberta", "mean")]
HEADS = [*QUICK, *(pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS)]
# What all families share is tried quickly on one.
SOME = ["bert", *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES[1:])]


@pytest.fixture(scope="module", autouse=True)
def quiet_transformers():
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load_theirs(folder, ending="SequenceClassification"):
    import transformers

    kind = getattr(transformers, f"AutoModelFor{ending}")
    model = kind.from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def run_theirs(folder, texts=TEXTS, pairs=None, ending="SequenceClassification"):
    model, tokenizer = load_theirs(folder, ending)
    inputs = tokenizer(texts, pairs, padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    return {k: v.numpy() for k, v in outputs.items()}, inputs


# === transformers ===


@pytest.mark.parametrize(("family", "pooling"), HEADS)
def test_transformers_gives_the_same_probabilities(family, pooling, tmp_path):
    model = build_classifier(family, pooling)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, _ = run_theirs(folder)
    expected = model.predict(TEXTS)
    np.testing.assert_allclose(softmax(outputs["logits"]), expected, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 0.05


@pytest.mark.parametrize(("family", "pooling"), HEADS)
def test_what_was_rewritten_is_read_back_bit_for_bit(family, pooling, tmp_path):
    model = build_classifier(family, pooling)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    back = kbert.load_model(folder, precision="float32")
    assert back.backbone.config == model.backbone.config
    kept = [w for w in model.weights if "pooled" not in w.path or pooling == "pooler"]
    found = [w for w in back.weights if "pooled" not in w.path or pooling == "pooler"]
    for one, other in zip(kept, found, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)
    np.testing.assert_array_equal(back.predict(TEXTS), model.predict(TEXTS))
    assert back.label_names == ("negative", "positive") and back.task == "classify"


@pytest.mark.parametrize("family", SOME)
def test_a_rewritten_model_that_was_trained_on_is_read_as_it_is(family, tmp_path):
    import transformers

    folder = kbert.export(build_classifier(family), "huggingface", tmp_path / "out")
    theirs, tokenizer = load_theirs(folder)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(1.01)
    theirs.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    outputs, _ = run_theirs(tmp_path / "trained")
    back = kbert.load_model(tmp_path / "trained", precision="float32")
    assert back.backbone.config.num_layers == 3
    found = back.predict(TEXTS)
    np.testing.assert_allclose(found, softmax(outputs["logits"]), atol=1e-4)
    assert transformers.__version__


@pytest.mark.parametrize("family", SOME)
@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_other_heads_on_a_text(task, family, tmp_path):
    import transformers

    model = build_task(task, family)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    problem = {"multilabel": "multi_label_classification", "regress": "regression"}
    assert config["problem_type"] == problem[task]
    pipeline = transformers.pipeline("text-classification", str(folder), top_k=None)
    expected = model.predict(TEXTS)
    names = [config["id2label"][str(i)] for i in range(expected.shape[1])]
    for row, scores in zip(expected, pipeline(TEXTS, batch_size=4), strict=True):
        found = {score["label"]: score["score"] for score in scores}
        np.testing.assert_allclose([found[n] for n in names], row, atol=1e-5)
    back = kbert.load_model(folder, precision="float32")
    np.testing.assert_array_equal(back.predict(TEXTS), expected)
    assert back.task == task and back.metadata == model.metadata


@pytest.mark.parametrize("family", SOME)
def test_tagged_words(family, tmp_path):
    model = build_task("tag", family)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, inputs = run_theirs(folder, ending="TokenClassification")
    expected, arrays = predict_tokens(model)
    real = arrays["padding_mask"] == 1
    np.testing.assert_array_equal(inputs["input_ids"].numpy(), arrays["token_ids"])
    found = softmax(outputs["logits"])
    np.testing.assert_allclose(found[real], expected[real], atol=1e-5)
    back = kbert.load_model(folder, precision="float32")
    np.testing.assert_array_equal(predict_tokens(back)[0][real], expected[real])
    assert back.task == "tag" and back.label_names == model.label_names


def test_a_pipeline_tags_with_the_labels_names(tmp_path):
    import transformers

    model = build_task("tag")
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    tagged = transformers.pipeline("token-classification", str(folder))(TEXTS[0])
    expected, arrays = predict_tokens(model, TEXTS[:1])
    names = [model.label_names[i] for i in expected[0].argmax(-1)][1:-1]
    assert [one["entity"] for one in tagged] == names
    assert arrays["token_ids"].shape == (1, 6)


@pytest.mark.parametrize("family", SOME)
def test_answers(family, tmp_path):
    model = build_task("answer", family)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, _ = run_theirs(folder, ending="QuestionAnswering")
    expected, arrays = predict_tokens(model)
    padding = arrays["padding_mask"] == 0
    for index, name in enumerate(("start_logits", "end_logits")):
        logits = np.where(padding, -1e9, outputs[name])
        np.testing.assert_allclose(softmax(logits), expected[:, index], atol=1e-5)
    back = kbert.load_model(folder, precision="float32")
    np.testing.assert_array_equal(predict_tokens(back)[0], expected)
    assert back.task == "answer" and back.label_names is None


@pytest.mark.parametrize("family", SOME)
def test_pairs_have_the_same_ids_and_probabilities(family, tmp_path):
    model = build_classifier(family)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, inputs = run_theirs(folder, *map(list, zip(*PAIRS, strict=True)))
    encoded = model.preprocessor.encode(*map(list, zip(*PAIRS, strict=True))).pad()
    np.testing.assert_array_equal(inputs["input_ids"].numpy(), encoded["token_ids"])
    expected = model.predict(PAIRS)
    np.testing.assert_allclose(softmax(outputs["logits"]), expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [1e-4, 1e5])
def test_scores_of_any_size_survive_the_mean(size, family, tmp_path):
    model = build_task("regress", family, pooling="mean")
    dense = model.layers[-1]
    dense.set_weights([dense.kernel.numpy() * size, np.array([3 * size])])
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, _ = run_theirs(folder)
    expected = model.predict(TEXTS)
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-5 * size)
    back = kbert.load_model(folder, precision="float32")
    np.testing.assert_array_equal(back.predict(TEXTS), expected)


def test_a_byte_level_vocabulary_gives_the_same_ids_everywhere(tmp_path):
    model = build_bytes_classifier()
    texts = ["the other  one", " caf\u00e9 <mask> \U0001f600", "", "a</s>the"]
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, inputs = run_theirs(folder, texts)
    encoded = model.preprocessor.encode(texts).pad()
    np.testing.assert_array_equal(inputs["input_ids"].numpy(), encoded["token_ids"])
    expected = model.predict(texts)
    np.testing.assert_allclose(softmax(outputs["logits"]), expected, atol=1e-5)
    files = {path.name for path in folder.iterdir()}
    assert {"vocab.json", "merges.txt"} <= files
    backbone = kbert.export(model, "keras", tmp_path / "keras") / "backbone"
    ids = kbert.load_preset(backbone).tokenizer.tokenize(texts)[0]
    theirs = model.preprocessor.tokenizer.tokenize(texts)[0]
    np.testing.assert_array_equal(ids, theirs)


def test_a_hidden_layer_that_transformers_has_is_written_as_its_own(tmp_path):
    import keras

    backbone = kbert.load_backbone(tiny.build_preset("roberta"), precision="float32")
    x = keras.layers.Dense(16, activation="tanh")(pool(backbone, "cls"))
    x = keras.layers.Dense(3, activation="softmax")(x)
    model = kbert.Model(backbone.input, x)
    preset = tiny.build_preset("roberta")
    names = backbone.config.input_names
    model.preprocessor = kbert.Preprocessor(
        preset.tokenizer, max_length=24, input_names=names
    )
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    outputs, _ = run_theirs(folder)
    expected = model.predict(TEXTS)
    np.testing.assert_allclose(softmax(outputs["logits"]), expected, atol=1e-5)
    back = kbert.load_model(folder, precision="float32")
    np.testing.assert_allclose(back.predict(TEXTS), expected, atol=1e-6)
    assert back.label_names == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_one_sigmoid_becomes_two_classes(tmp_path):
    model = build_classifier(num_classes=2)
    import keras

    backbone = model.backbone
    x = keras.layers.Dense(1, activation="sigmoid")(
        backbone(backbone.input)["pooled_output"]
    )
    binary = kbert.Model(backbone.input, x)
    binary.preprocessor, binary.task = model.preprocessor, "classify"
    folder = kbert.export(binary, "huggingface", tmp_path / "out")
    outputs, _ = run_theirs(folder)
    shares = softmax(outputs["logits"])[:, 1:]
    np.testing.assert_allclose(shares, binary.predict(TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"head": "mlp"}, "transformers has no class for this head .hidden layers"),
        ({"num_classes": 7, "label_names": None}, "has 7 labels, .* at most 4"),
        ({"head": "mlp", "pooling": "cls"}, "no class .* a hidden|1 hidden layers"),
    ],
)
def test_what_transformers_cannot_compute_is_one_sentence(
    arguments, sentence, tmp_path
):
    model = build_classifier(**arguments)
    with pytest.raises(ValueError, match=sentence):
        kbert.export(model, "huggingface", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    kbert.export(model, "onnx", tmp_path / "out")


def test_the_config_says_what_transformers_asks(tmp_path):
    model = build_classifier("roberta", dropout=0.2)
    folder = kbert.export(model, "huggingface", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["RobertaForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}
    assert config["hidden_dropout_prob"] == config["classifier_dropout"] == 0.2
    assert config["hidden_act"] == "gelu" and config["pad_token_id"] == 0
    files = {path.name for path in folder.iterdir()}
    assert {"vocab.txt", "special_tokens_map.json", "README.md"} <= files
    assert (folder / "model.safetensors").stat().st_mode & 0o044 == 0o044


# === read what transformers trained ===


@pytest.mark.parametrize("family", SOME)
def test_a_folder_that_transformers_wrote_gives_its_logits(family, tmp_path):
    import transformers

    folder = kbert.export(
        build_classifier(family, "cls"), "huggingface", tmp_path / "a"
    )
    config = transformers.AutoConfig.from_pretrained(folder)
    config.id2label, config.label2id = {0: "x", 1: "y", 2: "z"}, {}
    del config.kbert
    torch.manual_seed(0)
    theirs = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.3)
    theirs.save_pretrained(tmp_path / "b")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "b")
    outputs, _ = run_theirs(tmp_path / "b")
    model = kbert.load_model(tmp_path / "b", precision="float32")
    np.testing.assert_allclose(
        model.predict(TEXTS), softmax(outputs["logits"]), atol=1e-4
    )
    assert model.label_names == ("x", "y", "z") and model.task == "classify"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "no model file in .*: neither model"),
        (
            lambda f: (f / "config.json").write_text("{}"),
            "no model file in .*: neither",
        ),
        (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
        (lambda f: (f / "model.safetensors").rename(f / "a.bin"), "pickle"),
        (
            lambda f: (f / "config.json").write_text(
                (f / "config.json").read_text().replace("ForSequence", "ForMasked")
            ),
            "names BertForMaskedClassification, which has no head",
        ),
        (
            lambda f: (f / "config.json").write_text(
                (f / "config.json").read_text().replace('"0": ', '"no": ')
            ),
            "must name the ids 0 to 1, one an output",
        ),
    ],
)
def test_a_damaged_folder_is_one_sentence(spoil, sentence, tmp_path):
    folder = kbert.export(build_classifier(), "huggingface", tmp_path / "out")
    spoil(folder)
    with pytest.raises((PresetError, FileNotFoundError), match=sentence) as raised:
        kbert.load_model(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("format", ["huggingface", "safetensors"])
def test_how_long_texts_were_read_is_noted(format, tmp_path, caplog):
    note = "Texts longer than 8 tokens were read by head-tail in kbert; other libraries"
    for long_text in ("truncate", "head-tail"):
        caplog.clear()
        model = tiny.build_model(max_length=8, long_text=long_text, compile=False)
        folder = kbert.export(model, format, tmp_path / long_text)
        is_noted = long_text == "head-tail"
        assert (note in (folder / "README.md").read_text("utf-8")) == is_noted
        assert (note in caplog.text) == is_noted


def test_windows_are_exported_to_keras_alone(tmp_path):
    pytest.importorskip("keras_hub")
    model = tiny.build_model(max_length=8, long_text="windows", compile=False)
    for format in ("huggingface", "safetensors"):
        with pytest.raises(ValueError, match=r"only kbert pools.*--format keras"):
            kbert.export(model, format, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    folder = kbert.export(model, "keras", tmp_path / "out")
    back = kbert.load_model(folder / "model.keras", compile=False)
    np.testing.assert_array_equal(back.predict(TEXTS), model.predict(TEXTS))


# === ONNX ===


def run_onnx(folder, arrays, output=-1):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    from kbert.exporting.tokenizer_files import INPUT_NAMES

    inputs = {INPUT_NAMES[k]: v.astype(np.int64) for k, v in arrays.items()}
    return session.run([session.get_outputs()[output].name], inputs)[0]


@pytest.mark.parametrize(
    ("family", "pooling", "head"),
    [(*one, "linear") for one in QUICK] + [("bert", "mean", "mlp")],
)
def test_onnxruntime_gives_the_same_probabilities(family, pooling, head, tmp_path):
    model = build_classifier(family, pooling, head)
    folder = kbert.export(model, "onnx", tmp_path / "out")
    for texts in (TEXTS, TEXTS[:1]):  # another batch size, another length
        arrays = model.preprocessor.encode(texts).pad()
        found = run_onnx(folder, arrays)
        np.testing.assert_allclose(found, model.predict(texts), atol=1e-5)
        logits = run_onnx(folder, arrays, 0)
        np.testing.assert_allclose(softmax(logits), found, atol=1e-6)


@pytest.mark.parametrize("activation", ["gelu_approximate", "relu"])
def test_onnx_has_the_encoders_activation(activation, tmp_path):
    model = build_task("regress", activation=activation)
    folder = kbert.export(model, "onnx", tmp_path / "out")
    found = run_onnx(folder, model.preprocessor.encode(TEXTS).pad())
    np.testing.assert_allclose(found, model.predict(TEXTS), atol=1e-4)


@pytest.mark.parametrize("task", ["multilabel", "tag", "answer"])
def test_onnx_of_the_other_tasks(task, tmp_path):
    model = build_task(task)
    folder = kbert.export(model, "onnx", tmp_path / "out")
    expected, arrays = predict_tokens(model)
    real = arrays["padding_mask"] == 1
    found = run_onnx(folder, arrays)
    if task == "tag":
        found, expected = found[real], expected[real]
    if task == "answer":
        found, expected = softmax(np.where(real, found, -1e9)), expected[:, 1]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("task", ["regress", "multilabel", "tag", "answer"])
def test_an_exported_model_stands_in_for_its_own(task, tmp_path):
    pytest.importorskip("onnxruntime")
    model = build_task(task)
    exported = ExportedModel(kbert.export(model, "onnx", tmp_path / "out"), model)
    arrays = model.preprocessor.encode(TEXTS).pad()
    real = arrays["padding_mask"] == 1
    found, expected = (one.predict_on_batch(arrays) for one in (exported, model))
    if task == "tag":
        found, expected = found[real], expected[real]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_int8_says_what_it_changes(tmp_path, caplog):
    pytest.importorskip("onnxruntime")
    model = build_classifier()
    labels = ["negative", "positive", "positive", "negative"]
    folder = kbert.export(
        model, "onnx", tmp_path / "a", int8=True, examples=(TEXTS, labels)
    )
    said = [r.message for r in caplog.records if "In 8 bits" in r.message]
    assert re.search(r"of 4 texts differ by 0\.0.* accuracy goes from", said[0])
    assert said[0].split(";")[0] in (folder / "README.md").read_text("utf-8")
    import onnx

    nodes = onnx.load(folder / "model.onnx").graph.node
    assert "MatMulInteger" in {node.op_type for node in nodes}
    assert [path.name for path in folder.glob("*.onnx")] == ["model.onnx"]
    exact = kbert.export(model, "onnx", tmp_path / "b")
    assert comparison.describe_change(exact, model, TEXTS).startswith(
        "In 8 bits, probabilities of 4 texts differ by 0.0000"
    )


def test_int8_of_several_labels_is_compared_label_by_label(tmp_path, monkeypatch):
    model = build_task("multilabel")
    model.metadata = {"thresholds": [0.2, 0.5, 0.9]}
    exact = np.array([[0.9, 0.4, 0.8], [0.1, 0.7, 0.8]], np.float32)
    rounded = np.array([[0.8, 0.6, 0.7], [0.3, 0.7, 0.95]], np.float32)  # 3 of 6 move
    monkeypatch.setattr(model, "predict", lambda texts: exact)
    exported = SimpleNamespace(predict=lambda texts: rounded)
    monkeypatch.setattr(comparison, "ExportedModel", lambda *arguments: exported)
    said = comparison.describe_change(tmp_path, model, TEXTS[:2])
    assert said.endswith("; 50.0 % of the labels stay the same.")
    model.metadata = {}
    said = comparison.describe_change(tmp_path, model, TEXTS[:2])
    assert said.endswith("; 83.3 % of the labels stay the same.")


TAGGED = Sentences(
    words=[["the", "film", "was", "good"], ["a", "dull", "story"], ["so", "poor"]],
    tags=[["O", "B-X", "O", "O"], ["O", "O", "B-X"], ["O", "B-Y"]],
    rows=np.arange(3),
    groups=np.arange(3),
    name="here",
)
ASKED = Questions(
    questions=["was the film good ?", "the plot ?"],
    contexts=["the film was good", "a dull story , and so poor"],
    answers=[[Gold("good", 13)], [Gold("a dull story", 0)]],
    ids=["a", "b"],
    rows=np.arange(2),
    groups=np.arange(2),
    name="here",
)


@pytest.mark.parametrize(
    ("task", "part", "plain", "said"),
    [
        ("tag", TAGGED, TAGGED.words, "of 3 rows get the same tags, and the f1 goes"),
        (
            "answer",
            ASKED,
            list(zip(ASKED.questions, ASKED.contexts, strict=True)),
            "of 2 rows get the same answer, and the exact match goes from ",
        ),
    ],
)
def test_int8_of_words_and_answers(task, part, plain, said, tmp_path):
    pytest.importorskip("onnxruntime")
    model = build_task(task)
    if task == "tag":
        model.label_names = ("O", "B-X", "I-X", "B-Y", "I-Y")
    else:
        (found,) = find_task(task).predict(model, plain[:1])
        right = [Gold(found.text, found.start)]
        part = dataclasses.replace(part, answers=[right, *part.answers[1:]])
    folder = kbert.export(model, "onnx", tmp_path / "a", int8=True, examples=part)
    sentence = comparison.describe_change(folder, model, part)
    assert said in sentence and sentence in (folder / "README.md").read_text("utf-8")
    exact = kbert.export(model, "onnx", tmp_path / "b")
    found = comparison.describe_change(exact, model, part)
    assert found.startswith("In 8 bits, 100.0 % ")
    before, after = re.findall(r"\d\.\d{4}", found)
    assert before == after != "0.0000"
    unlabelled = comparison.describe_change(exact, model, plain)
    assert unlabelled == found.split(", and ")[0] + "."


def test_int8_examples_of_words_may_be_what_the_task_reads(tmp_path):
    pytest.importorskip("onnxruntime")
    model = build_task("tag")
    model.label_names = ("O", "B-X", "I-X", "B-Y", "I-Y")
    folder = kbert.export(model, "onnx", tmp_path / "out")
    expected = comparison.describe_change(folder, model, TAGGED)
    pairs = TAGGED.words, TAGGED.tags
    assert comparison.describe_change(folder, model, pairs) == expected
    with pytest.raises(ValueError, match="there are no examples; pass at least one"):
        comparison.describe_change(folder, model, [])
    file = tmp_path / "few.conll"
    lines = [" ".join(one) for one in zip(*map(sum, pairs, ([], [])), strict=True)]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    model.save(tmp_path / "tag.keras")
    flags = ["--format", "onnx", "--int8", "--examples", str(file), "--out"]
    main(["export", str(tmp_path / "tag.keras"), *flags, str(tmp_path / "again")])
    card = (tmp_path / "again" / "README.md").read_text("utf-8")
    assert "of 1 rows get the same tags, and the f1 goes from" in card


@pytest.mark.parametrize("task", ["tag", "answer"])
def test_the_held_out_rows_of_words_and_answers_are_found(task, tmp_path):
    row = {"tag": "a b,O B-X", "answer": "a ?,b c,b | b c\nd ?,e f,"}[task]
    header = {"tag": "text,true_label", "answer": "text,text_pair,true_label"}[task]
    (tmp_path / "predictions.csv").write_text(f"{header}\n{row}\n", "utf-8")
    found = comparison.find_examples(tmp_path, task)
    if task == "tag":
        assert found == ([["a", "b"]], [["O", "B-X"]])
        return
    assert (found.questions, found.contexts) == (["a ?", "d ?"], ["b c", "e f"])
    assert found.labels == [["b", "b c"], []]  # and one that has no answer
    build_task("answer").save(tmp_path / "model.keras")
    pytest.importorskip("onnxruntime")
    kbert.export(tmp_path, "onnx", tmp_path / "out", int8=True)
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "of 2 rows get the same answer, and the exact match goes from" in card


def test_held_out_words_that_cannot_be_told_apart_have_no_tags(tmp_path):
    lines = "text,true_label\nNew York is,B-X O\n"  # "New York" is one word
    (tmp_path / "predictions.csv").write_text(lines, "utf-8")
    assert comparison.find_examples(tmp_path, "tag") == [["New", "York", "is"]]


def test_int8_of_a_run_is_measured_on_its_held_out_rows(tmp_path, caplog):
    pytest.importorskip("onnxruntime")
    run = tmp_path / "run"
    run.mkdir()
    build_classifier().save(run / "model.keras")
    rows = [f"{i},{text!r},positive" for i, text in enumerate(TEXTS)]
    lines = "\n".join(["row,text,true_label", *rows]).replace("'", '"')
    (run / "predictions.csv").write_text(lines, encoding="utf-8")
    kbert.export(run, "onnx", tmp_path / "out", int8=True)
    assert "accuracy goes from" in caplog.text


def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeError, match=r"needs the package onnx.*kbert\[onnx\]"):
        kbert.export(build_classifier(), "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["onnx", "safetensors"])
def test_the_cards_example_runs_in_the_folder(format, tmp_path):
    folder = kbert.export(build_classifier(), format, tmp_path / "out")
    run_example(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "task"),
    [("keras", None), *(("huggingface", t) for t in (None, "tag", "answer"))],
)
def test_the_cards_slow_example_runs_in_the_folder(format, task, tmp_path):
    model = build_task(task) if task else build_classifier()
    run_example(kbert.export(model, format, tmp_path / "out"))


def run_example(folder):
    text = (folder / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    assert len(code.splitlines()) <= 20
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]


# === safetensors and Keras ===


def test_safetensors_holds_every_weight_under_kerashubs_name(tmp_path):
    from safetensors.numpy import load_file

    model = build_classifier()
    folder = kbert.export(model, "safetensors", tmp_path / "out")
    found = load_file(folder / "model.safetensors")
    for variable in model.backbone.weights:
        key = f"backbone/{variable.path}"
        np.testing.assert_array_equal(found.pop(key), variable.numpy())
    np.testing.assert_array_equal(found["head/kernel"], model.layers[-1].kernel.numpy())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["label_names"] == ["negative", "positive"]
    assert config["pooling"] == "mean" and config["backbone"]["family"] == "bert"


def test_keras_is_the_model_without_its_optimizer_and_a_preset(tmp_path):
    model = tiny.build_model("distil_bert")
    model.fit(TEXTS, [0, 1, 0, 1], epochs=1, verbose=0)
    folder = kbert.export(model, "keras", tmp_path / "out")
    back = kbert.load_model(folder / "model.keras")
    assert not back.compiled
    np.testing.assert_array_equal(back.predict(TEXTS), model.predict(TEXTS))
    assert model.compiled
    preset = kbert.load_preset(folder / "backbone")
    for path, value in preset.load_weights().items():
        found = {v.path: v for v in model.backbone.weights}[path]
        np.testing.assert_array_equal(value, found.numpy())
    ids = preset.tokenizer.tokenize(TEXTS)[0]
    np.testing.assert_array_equal(ids, model.preprocessor.tokenizer.tokenize(TEXTS)[0])


def test_keras_says_when_kerashub_computes_something_else(tmp_path, caplog):
    kbert.export(build_classifier(), "keras", tmp_path / "out")
    assert "erf form of GELU, and KerasHub's class its tanh form" in caplog.text
    caplog.clear()
    model = build_task("regress", activation="gelu_approximate")
    kbert.export(model, "keras", tmp_path / "exact")
    assert not caplog.text


KERAS_HUB = """
import sys; sys.modules["tensorflow"] = None; sys.modules["tensorflow_text"] = None
import json, pathlib, numpy as np, keras_hub
root = pathlib.Path(sys.argv[1])
for folder in sorted(root.glob("*/")):
    backbone = keras_hub.models.Backbone.from_preset(str(folder / "backbone"))
    case = np.load(folder / "case.npz")
    outputs = backbone.predict({k: case[k] for k in case if k != "expected"}, verbose=0)
    if isinstance(outputs, dict):
        outputs = outputs["sequence_output"]
    real = case["padding_mask"] == 1
    print(folder.name, np.abs(outputs - case["expected"])[real].max())
"""


@pytest.mark.slow
def test_keras_hub_loads_the_backbone_and_computes_the_same(tmp_path):
    same = {"bert": {"activation": "gelu_approximate"}, "distil_bert": {}}
    same["roberta"] = {"layer_norm_epsilon": 1e-5}
    for family, changes in same.items():
        model = build_task("regress", family, **changes)
        folder = kbert.export(model, "keras", tmp_path / family)
        arrays = model.preprocessor.encode(TEXTS).pad()
        outputs = model.backbone.predict(arrays, verbose=0)
        if family == "bert":
            outputs = outputs["sequence_output"]
        np.savez(folder / "case.npz", expected=outputs, **arrays)
    done = subprocess.run(
        [sys.executable, "-c", KERAS_HUB, str(tmp_path)],
        env=os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = dict(line.split() for line in done.stdout.splitlines())
    assert set(lines) == set(same)
    assert all(float(difference) < 1e-5 for difference in lines.values()), lines


# === whole or absent ===


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("tflite",), ValueError, "format must be one of huggingface, onnx"),
        (("keras", {"int8": True}), ValueError, "int8 is for the format onnx"),
        (("onnx", {"examples": TEXTS}), ValueError, "pass int8=True"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, error, sentence, tmp_path):
    format, *rest = arguments
    with pytest.raises(error, match=sentence):
        kbert.export(build_classifier(), format, tmp_path / "a", **dict(*rest))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    model = build_classifier()
    with pytest.raises(FileExistsError, match="holds files already"):
        kbert.export(model, "safetensors", out)
    with pytest.raises(FileExistsError, match=r"holds mine\.txt, which no export"):
        kbert.export(model, "safetensors", out, overwrite=True)
    assert (out / "mine.txt").read_text() == "kept"
    (out / "mine.txt").unlink()
    kbert.export(model, "safetensors", out)
    for mine in ("backbone/mine.txt", "backbone/config.json.old"):
        (out / mine).parent.mkdir(exist_ok=True)
        (out / mine).write_text("kept")
        with pytest.raises(FileExistsError, match=f"holds {mine}, which no"):
            kbert.export(model, "safetensors", out, overwrite=True)
        shutil.rmtree(out / "backbone")
    (out / ".git").mkdir()  # of somebody who publishes it
    with pytest.raises(FileExistsError, match=r"holds \.git, which no export wrote"):
        kbert.export(model, "safetensors", out, overwrite=True)
    with pytest.raises(FileExistsError, match="is a file; name a folder"):
        kbert.export(model, "safetensors", out / "README.md", overwrite=True)


@pytest.mark.parametrize("place", [".", "run", "run/..", "model"])
def test_overwriting_replaces_no_run_and_no_folder_of_others(
    place, tmp_path, monkeypatch
):
    model = build_classifier()
    for name in ("run/model.keras", "run/report.json", "model/model.keras"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    model.save(tmp_path / "run" / "model.keras")
    monkeypatch.chdir(tmp_path / "run" if place == "." else tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="no export wrote|you are in"):
        kbert.export(tmp_path / "run", "safetensors", place, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("format", ["huggingface", "onnx", "safetensors", "keras"])
def test_an_earlier_export_of_any_format_is_replaced(format, family, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    model, out = build_classifier(family), tmp_path / "out"
    kbert.export(model, format, out)
    kbert.export(model, "safetensors", out, overwrite=True)
    expected = kbert.export(model, "safetensors", tmp_path / "other")
    assert {p.name for p in out.iterdir()} == {p.name for p in expected.iterdir()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "out"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fill(*arguments, **others):
        raise OSError(28, "No space left on device")

    out = tmp_path / "deep" / "out"
    monkeypatch.setattr(hugging_face, "save_arrays", fill)
    with pytest.raises(OSError, match="No space left"):
        kbert.export(build_classifier(), "huggingface", out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("format", ["huggingface", "keras"])
def test_a_failed_overwrite_keeps_what_was_there(format, tmp_path, monkeypatch):
    model = build_classifier()
    out = kbert.export(model, format, tmp_path / "out")
    before = sorted(p.name for p in out.rglob("*"))
    monkeypatch.setattr(
        sys.modules["kbert.exporting.export"], "_write_card", lambda *a: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        kbert.export(model, format, out, overwrite=True)
    assert sorted(p.name for p in out.rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


# === card ===

REPORT = {
    "preset": {"name": "all_minilm_l6_v2_en"},
    "data": {"source": "/home/me/reviews.csv", "rows": {"train": 1200, "test": 300}},
    "split": "test",
    "config": {"epochs": 3, "learning_rate": 5e-5, "seed": 7},
    "metrics": {
        "accuracy": {"value": 0.91, "low": 0.88, "high": 0.94},
        "log_loss": {"value": 0.25},
        "confusion": [[1, 2]],
    },
    "notices": [],
}


def test_a_card_shows_the_runs_own_figures(tmp_path):
    yaml = pytest.importorskip("yaml")
    run = tmp_path / "run"
    run.mkdir()
    build_classifier().save(run / "model.keras")
    (run / "report.json").write_text(json.dumps(REPORT), encoding="utf-8")
    folder = kbert.export(run, "huggingface", tmp_path / "my-model")
    text = (folder / "README.md").read_text("utf-8")
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["language"] == ["en"]
    assert metadata["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert metadata["pipeline_tag"] == "text-classification"
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"]["name"] == "reviews.csv"
    assert {m["type"]: m["value"] for m in result["metrics"]} == {
        "accuracy": 0.91,
        "log_loss": 0.25,
    }
    assert "license" not in metadata
    for part in ("| accuracy | 0.9100 | 0.8800 to 0.9400 |", "300 held-out rows"):
        assert part in text
    assert "Trained on 1,200 rows" in text and "/home/me" not in text


def test_a_hub_accepts_the_cards_metadata(tmp_path):
    from huggingface_hub import ModelCard

    example, notes = "code", ["note"]
    names = ["a|b", "<script>"]
    text = card.write_card("m", "onnx", None, names, REPORT, example, notes)
    data = ModelCard(text).data
    assert {r.metric_type: r.metric_value for r in data.eval_results} == {
        "accuracy": 0.91,
        "log_loss": 0.25,
    }


def test_a_card_without_a_run_invents_nothing(tmp_path):
    folder = kbert.export(build_classifier(), "safetensors", tmp_path / "out")
    text = (folder / "README.md").read_text("utf-8")
    assert "None were measured" in text and "model-index" not in text
    assert "Labels: `negative`, `positive`." in text


def test_thresholds_are_said(tmp_path, caplog):
    kbert.export(build_task("multilabel"), "onnx", tmp_path / "out")
    assert (
        "Thresholds were chosen for this model (name 0 0.4, name 1 0.4," in caplog.text
    )
    model = build_classifier()
    model.metadata = {"threshold": 0.31}
    for format in ("keras", "safetensors"):
        folder = kbert.export(model, format, tmp_path / format)
        text = (folder / "README.md").read_text("utf-8").replace("\\", "")
        assert "'positive' from a probability of 0.31 upwards" in text
        assert "row[1] of the row's probabilities, is >= 0.31" in text


def test_another_precision_is_said(tmp_path, caplog):
    model = build_classifier(precision="bfloat16")
    kbert.export(model, "safetensors", tmp_path / "out")
    assert "computes this model in bfloat16 here" in caplog.text


def test_cleaning_is_said(tmp_path, caplog):
    model = build_classifier(clean="fixed")
    folder = kbert.export(model, "onnx", tmp_path / "out")
    assert "tokenizer does not clean" in caplog.text
    assert "tokenizer does not clean" in (folder / "README.md").read_text("utf-8")


# === the command ===


def test_the_command_equals_the_function(tmp_path, capsys, caplog):
    run = tmp_path / "run"
    run.mkdir()
    model = build_classifier()
    model.save(run / "model.keras")
    arguments = [str(run), "--format", "huggingface", "--out", str(tmp_path / "a")]
    assert main(["export", *arguments, "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert "model.safetensors" in written["files"] and written["bytes"] > 1000
    assert written["notes"] == [r.message for r in caplog.records if r.name == "kbert"]
    assert "one transformer layer more" in written["notes"][0]
    by_function = kbert.export(run, "huggingface", tmp_path / "b")
    for file in written["files"]:
        if file != "README.md":
            one, other = (tmp_path / "a" / file), (by_function / file)
            assert one.read_bytes() == other.read_bytes(), file
    assert main(["export", *arguments]) == 1
    assert "holds files already" in capsys.readouterr().err
    assert main(["export", *arguments, "--overwrite"]) == 0


def test_the_commands_json_says_what_8_bits_change(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    build_classifier().save(tmp_path / "model.keras")
    (tmp_path / "examples.csv").write_text(
        "text,label\n" + "".join(f'"{text}",positive\n' for text in TEXTS), "utf-8"
    )
    flags = ["--format", "onnx", "--out", str(tmp_path / "out"), "--int8", "--json"]
    flags += ["--examples", str(tmp_path / "examples.csv"), "--label", "label"]
    assert main(["export", str(tmp_path / "model.keras"), *flags]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert notes[-1].startswith("In 8 bits, probabilities of 4 texts differ by")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [("nowhere", "there is no model file"), ("empty", "there is no model file in")],
)
def test_a_run_folder_that_is_none(place, sentence, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "out")
    code = main(["export", str(tmp_path / place), "--format", "onnx", "--out", out])
    error = capsys.readouterr().err
    assert code == 1 and sentence in error and error.count("\n") == 1
    assert not Path(out).exists()
    shutil.rmtree(tmp_path / "empty")
