"""The engine against KerasHub and transformers themselves, on real texts."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from engine_cases import (
    FAMILIES,
    assert_same,
    blank_padding,
    build_backbone,
    build_batch,
    compute,
    draw_probe,
    read_weights,
    run_keras_layers,
    run_packed,
    to_tensors,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

import kbert
from kbert.recipes.sources import SAMPLES

transformers = pytest.importorskip("transformers")

RAGGED = [7, 2, 24, 1, 13, 24, 9, 3, 17]


# === KerasHub ===


@pytest.fixture(scope="module")
def backbones():
    return {family: build_backbone(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def keras_hub(backbones, tmp_path_factory):
    """Return what asks KerasHub for outputs and gradients of a family's backbone."""
    root = tmp_path_factory.mktemp("keras_hub")
    config = dataclasses.asdict(backbones["bert"].config)
    names = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim")
    names += ("intermediate_dim", "max_sequence_length")
    shape = json.dumps({name: config[name] for name in names})
    (root / "shape.json").write_text(shape, encoding="utf-8")
    writer = Path(__file__).with_name("backbone_writer.py")
    log = root / "errors.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(writer), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def ask(family, inputs):
        backbone = backbones[family]
        outputs = run_keras_layers(backbone, inputs)
        probes = {name: draw_probe(outputs[name].shape, 7) for name in outputs}
        probes = blank_padding(probes, inputs["padding_mask"])
        np.savez(
            root / f"{family}.npz",
            **{f"weight:{k}": v for k, v in read_weights(backbone).items()},
            **{f"input:{k}": v for k, v in inputs.items()},
            **{f"probe:{k}": v.numpy() for k, v in probes.items()},
        )
        process.stdin.write(f"{family}\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == family, log.read_text()[-3000:]
        return read_results(root, family)

    with process:  # it ends with its input
        yield ask


def read_results(root, family):
    """Return outputs and gradients by name."""
    with np.load(root / f"{family}_keras_hub.npz") as results:
        return [
            {k.removeprefix(kind): results[k] for k in results if k.startswith(kind)}
            for kind in ("output:", "gradient:")
        ]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None, database=None)
@example(lengths=RAGGED, padding=2, seed=0)
@example(lengths=[1], padding=0, seed=0)
@example(lengths=[2, 2, 2], padding=3, seed=0)
@example(lengths=[9] * 5, padding=0, seed=0)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=20),
    padding=st.integers(0, 5),
    seed=st.integers(0, 2**31 - 1),
)
def test_outputs_and_gradients_equal_keras_hub(
    keras_hub, backbones, family, lengths, padding, seed
):
    num_columns = max(lengths) + padding
    inputs = build_batch(family, lengths, num_columns=num_columns, seed=seed)
    outputs, gradients = keras_hub(family, inputs)
    outputs = blank_padding(to_tensors(outputs), inputs["padding_mask"])
    theirs = {k: v.numpy() for k, v in outputs.items()}, gradients
    for run in (run_packed, run_keras_layers):
        assert_same(compute(backbones[family], inputs, run), theirs)


# === transformers ===


def read_tweets(path, num_texts=None):
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:num_texts]


@pytest.fixture(scope="module")
def texts():
    """Tweets of the bundled sample, the shortest texts of all, and a long one."""
    tweets = read_tweets(SAMPLES / "tweets" / "train.csv", 96)
    return ["", "ok", *tweets, " ".join(tweets[:12])]


@pytest.fixture(scope="module")
def embedded():
    """The folder of the embedded preset's checkpoint."""
    folder = kbert.presets.embedded.find_embedded_folder()
    if folder is None or not (folder / "model.safetensors").is_file():
        pytest.skip("the embedded preset is not installed")
    return folder


def add_logits(features):
    return keras.layers.Dense(3, name="logits")(features)


def randomise(model, seed=0, scale=0.1):
    """Give a transformers model weights, biases and norms that all matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, scale, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1)
    return model.eval()


def compute_logits(classifier, tokenizer, texts, max_length, pairs=None):
    """Run a transformers classifier, 16 texts at a time."""
    parts = []
    for first in range(0, len(texts), 16):
        rows = slice(first, first + 16)
        batch = tokenizer(
            texts[rows],
            pairs and pairs[rows],
            padding=True,
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        )
        with torch.no_grad():
            parts.append(classifier(**batch).logits)
    return torch.cat(parts).numpy()


def build_twin(preset, classifier, *, pooling, max_length, head=add_logits, **options):
    """Return our model with the last layer of a transformers classifier."""
    model = kbert.build_classifier(
        preset, num_classes=3, head=head, pooling=pooling, max_length=max_length,
        precision=options.pop("precision", "float32"), **options,
    )  # fmt: skip
    dense = model.get_layer("logits")
    last = classifier.classifier
    last = getattr(last, "out_proj", last)
    dense.set_weights([last.weight.detach().numpy().T, last.bias.detach().numpy()])
    return model


@pytest.fixture(scope="module")
def minilm(embedded):
    """A classifier on the embedded preset: transformers' and its tokenizer."""
    classifier = transformers.BertForSequenceClassification.from_pretrained(
        embedded, num_labels=3
    )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        classifier.classifier.weight.normal_(0, 0.3, generator=generator)
        classifier.classifier.bias.normal_(0, 0.3, generator=generator)
    return classifier.eval(), transformers.AutoTokenizer.from_pretrained(embedded)


@pytest.fixture(scope="module")
def our_minilm(minilm):
    return build_twin(
        "all_minilm_l6_v2_en", minilm[0], pooling="pooler", max_length=128
    )


@pytest.mark.slow
def test_logits_of_the_embedded_preset_equal_transformers(minilm, our_minilm, texts):
    expected = compute_logits(*minilm, texts, 128)
    np.testing.assert_allclose(our_minilm.predict(texts), expected, atol=1e-4)
    np.testing.assert_allclose(
        our_minilm(our_minilm.preprocessor(texts[:20])).detach(),
        expected[:20],
        atol=1e-4,
    )


def test_logits_of_pairs_equal_transformers(minilm, our_minilm, texts):
    one, two = texts[2:26], texts[26:50]
    expected = compute_logits(*minilm, one, 128, two)
    ours = our_minilm.predict(list(zip(one, two, strict=True)))
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_logits_stay_near_transformers(minilm, texts):
    model = build_twin(
        "all_minilm_l6_v2_en", minilm[0],
        pooling="pooler", max_length=128, precision="bfloat16",
    )  # fmt: skip
    expected = compute_logits(*minilm, texts[:40], 128)
    ours = model.predict(texts[:40])
    spread = expected.std()
    assert np.abs(ours - expected).mean() < 0.02 * spread
    assert np.abs(ours - expected).max() < 0.1 * spread


def test_gradients_of_the_embedded_preset_equal_transformers(minilm, our_minilm, texts):
    classifier, tokenizer = minilm
    batch = tokenizer(
        texts[:8], padding=True, truncation=True, max_length=64, return_tensors="pt"
    )
    labels = torch.arange(8) % 3
    classifier.zero_grad()
    cross_entropy = torch.nn.functional.cross_entropy
    cross_entropy(classifier(**batch).logits, labels).backward()
    inputs = our_minilm.preprocessor.encode(texts[:8]).pad()
    loss = cross_entropy(our_minilm(inputs), labels)
    backbone = our_minilm.backbone
    bert = classifier.bert
    layer, theirs = backbone.transformer_layers[2], bert.encoder.layer[2]
    pairs = [
        (
            backbone.token_embedding.embeddings,
            classifier.bert.embeddings.word_embeddings,
        ),
        (layer._feedforward_intermediate_dense.kernel, theirs.intermediate.dense),
        (layer._feedforward_layer_norm.gamma, theirs.output.LayerNorm),
        (layer._self_attention_layer.value_dense.kernel, theirs.attention.self.value),
        (layer._self_attention_layer.query_dense.kernel, theirs.attention.self.query),
        (backbone.pooled_dense.kernel, bert.pooler.dense),
    ]
    gradients = torch.autograd.grad(loss, [variable.value for variable, _ in pairs])
    for (variable, module), gradient in zip(pairs, gradients, strict=True):
        expected = module.weight.grad
        if "embeddings" not in variable.path and expected.ndim == 2:
            expected = expected.T
        expected = expected.reshape(gradient.shape)
        difference = (gradient.to_dense() - expected).norm() / expected.norm()
        assert float(difference) < 1e-4, variable.path
    classifier.zero_grad()


# --- Small checkpoints of the other families, with a tokenizer trained on the sample


def write_bert_vocabulary(texts, folder):
    words = {word for text in texts[:60] for word in text.lower().split()}
    letters = sorted({letter for text in texts for letter in text.lower()} - {" "})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    tokens += [f"##{letter}" for letter in letters]
    tokens += sorted(word for word in words if word.isalpha() and len(word) > 1)
    path = folder / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    return transformers.BertTokenizerFast.from_pretrained(folder)


def train_bpe(texts, folder):
    trained = Backend(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    trained.model.save(str(folder))
    return transformers.RobertaTokenizerFast.from_pretrained(folder)


def build_config(family, vocabulary_size):
    sizes = {"vocab_size": vocabulary_size, "num_labels": 3}
    if family == "distil_bert":
        return transformers.DistilBertConfig(
            dim=36, hidden_dim=72, n_layers=3, n_heads=3, max_position_embeddings=80,
            **sizes,
        )  # fmt: skip
    sizes |= {"hidden_size": 36, "num_hidden_layers": 3, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 72}
    if family == "bert":
        return transformers.BertConfig(max_position_embeddings=80, **sizes)
    return transformers.RobertaConfig(
        max_position_embeddings=82, type_vocab_size=1, layer_norm_eps=1e-5, **sizes
    )


CLASSIFIERS = {
    "bert": "BertForSequenceClassification",
    "distil_bert": "DistilBertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
}


@pytest.fixture(scope="module")
def checkpoint(texts, tmp_path_factory):
    """Make a folder as transformers writes it; return it with what it holds."""
    made = {}

    def make(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            write = train_bpe if family == "roberta" else write_bert_vocabulary
            tokenizer = write(texts, folder)
            config = build_config(family, len(tokenizer))
            classifier = getattr(transformers, CLASSIFIERS[family])(config)
            randomise(classifier).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[family] = folder, classifier, tokenizer
        return made[family]

    return make


def build_family_head(family, classifier):
    """Return the head that transformers puts on an encoder of a family."""
    hidden = {
        "bert": lambda: None,
        "distil_bert": lambda: (classifier.pre_classifier, "relu"),
        "roberta": lambda: (classifier.classifier.dense, "tanh"),
    }[family]()

    def head(features):
        if hidden is None:
            return add_logits(features)
        module, activation = hidden
        dense = keras.layers.Dense(36, activation=activation, name="hidden")
        outputs = add_logits(dense(features))
        dense.set_weights(
            [module.weight.detach().numpy().T, module.bias.detach().numpy()]
        )
        return outputs

    return head


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_a_saved_checkpoint_equal_transformers(checkpoint, texts, family):
    folder, classifier, tokenizer = checkpoint(family)
    expected = compute_logits(classifier, tokenizer, texts, 80)
    model = build_twin(
        folder,
        classifier,
        pooling="pooler" if family == "bert" else "cls",
        max_length=80,
        head=build_family_head(family, classifier),
    )
    assert expected.std(0).min() > 1e-2, "all texts look alike to this checkpoint"
    np.testing.assert_allclose(model.predict(texts), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tweets", "imdb"])
def test_logits_of_whole_data_sets_equal_transformers(
    minilm, shared_data, name, embedded
):
    if name == "tweets":
        texts, length = read_tweets(shared_data(name) / "train.csv", 2000), 128
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        path = min(shared_data(name).glob("*.parquet"))
        table = parquet.read_table(path, columns=["text"]).slice(0, 64)
        texts, length = table["text"].to_pylist(), 512
    model = build_twin(
        "all_minilm_l6_v2_en", minilm[0], pooling="pooler", max_length=length
    )
    expected = compute_logits(*minilm, texts, length)
    np.testing.assert_allclose(model.predict(texts), expected, atol=1e-4)
