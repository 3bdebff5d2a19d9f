"""Small models of every task, family and head, with weights that tell them apart."""

import dataclasses

import keras
import numpy as np
import tiny
from tokenizers.pre_tokenizers import ByteLevel

import kbert
from kbert.models import pool
from kbert.text import Tokenizer
from kbert.token_heads import SpanScores

TEXTS = [
    "the film was good",
    "a dull story , and so poor",
    "the actor is great and the plot warm ! the ending is not",
    "the actors was lovely",
]
PAIRS = [("the film was good", "a dull plot"), ("a story", "very warm and fine !")]
ENDINGS = {"multilabel": "sigmoid", "regress": "linear", "tag": "softmax"}


def build_classifier(family="bert", pooling="mean", head="linear", **changes):
    """Return a classifier whose logits are far from level."""
    model = tiny.build_model(
        family, pooling=pooling, head=head, compile=False, **changes
    )
    draw(model)
    kernel, bias = model.layers[-1].get_weights()
    logits = np.log(model.predict(TEXTS))
    model.layers[-1].set_weights([kernel, bias - logits.mean(0)])
    return model


def build_bytes_classifier():
    """Return a RoBERTa classifier with a byte-level vocabulary, as real ones have."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    pieces += ["th", "\u0120th", "\u0120the", "<mask>"]
    merges = ["t h", "\u0120 th", "\u0120th e"]
    ids = {piece: index for index, piece in enumerate(pieces)}
    size = {"vocabulary_size": len(pieces), "max_sequence_length": 80}
    preset = dataclasses.replace(
        tiny.build_preset("roberta", **size), tokenizer=Tokenizer.from_bpe(ids, merges)
    )
    return draw(kbert.build_classifier(preset, ["no", "yes"], precision="float32"))


def build_task(task: str, family="bert", **changes):
    """Return a model of any task but classify, as kbert.tasks build them."""
    preset = tiny.build_preset(family, **changes)
    backbone = kbert.load_backbone(preset, precision="float32")
    tokens = task in ("tag", "answer")
    features = pool(backbone, "tokens" if tokens else preset.pooling)
    features = keras.layers.Dropout(0.1)(features)
    units = {"multilabel": 3, "regress": 1, "tag": 5, "answer": 2}[task]
    outputs = keras.layers.Dense(units, activation=ENDINGS.get(task))(features)
    if task == "answer":
        spans = SpanScores(name="spans")(outputs, backbone.input["padding_mask"])
        outputs = keras.layers.Softmax(name="probabilities")(spans)
    model = kbert.Model(backbone.input, outputs)
    model.task = task
    model.preprocessor = kbert.Preprocessor(
        preset.tokenizer, max_length=24, input_names=backbone.config.input_names
    )
    if task in ("multilabel", "tag"):
        model.label_names = tuple(f"name {index}" for index in range(units))
    model.metadata = {"thresholds": [0.4] * units}
    return draw(model)


def draw(model):
    """Give the dense layers values that make outputs differ."""
    generator = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            shapes = [weight.shape for weight in layer.weights]
            layer.set_weights([generator.normal(0, 0.7, shape) for shape in shapes])
    return model


def softmax(logits):
    """Return shares that sum to 1 on the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def predict_tokens(model, texts=TEXTS):
    """Return a token model's outputs on one padded batch, and the batch."""
    arrays = model.preprocessor.encode(texts).pad()
    return np.asarray(model(arrays).detach()), arrays
