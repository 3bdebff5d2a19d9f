"""What predicts: kbert, transformers, sentence-transformers' way, ONNX, stock Keras."""

import importlib.util
import tempfile
import time
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks import keras_sides
from benchmarks.machine import is_bfloat16_hopeless
from benchmarks.tasks import Task
from benchmarks.transformers_model import build_tokenizer, build_transformers_model


class Predictor(Protocol):
    """What predicts all texts of a task.

    Attributes:
        name: as the command line has it.
        settings: what it was run with, for the record.
    """

    name: str
    settings: dict

    def predict(self) -> np.ndarray:
        """Return probabilities, float32 (n, num_classes), in the texts' order."""


class KbertPredictor:
    """kbert as its users have it."""

    name = "kbert"

    def __init__(self, task: Task):
        self._task, self._model = task, keras_sides.build_kbert(task)
        self._texts = task.workload.take(range(len(task.workload)))
        dtype = self._model.backbone.compute_precision
        self.settings = {"precision": str(dtype).removeprefix("torch.")}

    def predict(self) -> np.ndarray:
        """Return probabilities in the texts' order."""
        return self._model.predict(self._texts, batch_size=self._task.batch_size)


class _SortedPredictor:
    """Sorts texts, runs batches padded to their longest, restores the order."""

    def __init__(self, task: Task):
        self.task = task
        self.tokenizer = build_tokenizer(task)
        self.texts, self.pairs = _clean(task)
        self.settings: dict = {}

    def predict(self) -> np.ndarray:
        """Return probabilities in the texts' order."""
        rows, batch = self.sort()
        size = self.task.batch_size
        order = rows[::-1]  # longest first
        outputs = np.empty((len(rows), self.task.workload.num_classes), "float32")
        for start in range(0, len(rows), size):
            chosen = order[start : start + size]
            logits = self.run(batch(chosen))
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            outputs[chosen] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return outputs

    def tokenize(self, texts, pairs, **options):
        """Call transformers' fast tokenizer."""
        return self.tokenizer(
            texts, pairs, truncation=True, max_length=self.task.max_length, **options
        )


class TransformersPredictor(_SortedPredictor):
    """transformers: tokenized at once, sorted by tokens, in its best precision."""

    name = "transformers"

    def __init__(self, task: Task, settings: dict | None = None):
        super().__init__(task)
        self.settings = settings or self._find_best()
        self._load(self.settings)

    def sort(self):
        """Tokenize all texts and sort by their number of tokens."""
        encoded = self.tokenize(self.texts, self.pairs)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])

        def batch(rows):
            features = [{key: encoded[key][row] for key in encoded} for row in rows]
            return self.tokenizer.pad(features, return_tensors="pt")

        return np.argsort(lengths, kind="stable"), batch

    def run(self, batch) -> np.ndarray:
        """Return logits."""
        import torch

        with torch.inference_mode():
            inputs = {key: value.to(self.task.device) for key, value in batch.items()}
            return self.model(**inputs).logits.float().cpu().numpy()

    def _load(self, settings: dict) -> None:
        import torch

        model = build_transformers_model(self.task, attention=settings["attention"])
        self.model = model.to(getattr(torch, settings["precision"])).eval()

    def _find_best(self) -> dict:
        """Try precisions and attentions on the texts and return the fastest."""
        seconds = {}
        for precision in self._list_precisions():
            for attention in ("sdpa", "eager"):
                settings = (precision, attention)
                self._load({"precision": precision, "attention": attention})
                self._predict_part()
                started = time.perf_counter()
                self._predict_part()
                seconds[settings] = time.perf_counter() - started
                print(f"trial: {settings}: {seconds[settings]:.3f} s")
        precision, attention = min(seconds, key=seconds.__getitem__)
        return {"precision": precision, "attention": attention}

    def _list_precisions(self) -> list[str]:
        task = self.task
        if task.precision == "float32" or is_bfloat16_hopeless(task.device):
            return ["float32"]
        return ["float32", "bfloat16"]

    def _predict_part(self) -> None:
        every, part = (self.texts, self.pairs), slice(4 * self.task.batch_size)
        self.texts = every[0][part]
        self.pairs = every[1][part] if every[1] else None
        self.predict()
        self.texts, self.pairs = every


class SentenceTransformersPredictor(TransformersPredictor):
    """As sentence-transformers' `encode`: sorted by characters, float32, tokenized a
    batch at a time."""

    name = "sentence-transformers"

    def sort(self):
        """Sort by characters; tokenize each batch when it comes."""
        pairs = self.pairs or [""] * len(self.texts)
        sizes = [len(a) + len(b) for a, b in zip(self.texts, pairs, strict=True)]

        def batch(rows):
            texts = [self.texts[row] for row in rows]
            seconds = [self.pairs[row] for row in rows] if self.pairs else None
            options = {"padding": True, "return_tensors": "pt"}
            return self.tokenize(texts, seconds, **options)

        return np.argsort(sizes, kind="stable"), batch

    def _find_best(self) -> dict:
        return {"precision": "float32", "attention": "sdpa"}


class OnnxPredictor(TransformersPredictor):
    """onnxruntime on transformers' model, exported by torch, sorted by tokens."""

    name = "onnxruntime"

    def __init__(self, task: Task):
        _SortedPredictor.__init__(self, task)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _num_threads()
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
        with tempfile.TemporaryDirectory() as folder:
            path = self._export(Path(folder))
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=[provider[task.device]]
            )
        self.settings = {"precision": "float32"}

    def run(self, batch) -> np.ndarray:
        """Return logits."""
        inputs = {name: batch[name].numpy() for name in _INPUTS}
        return self.session.run(None, inputs)[0]

    def _export(self, folder: Path) -> Path:
        import torch

        model = build_transformers_model(self.task, attention="eager").cpu().eval()
        example = tuple(torch.ones(2, 16, dtype=torch.int64) for _ in _INPUTS)
        path = folder / "model.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                example,
                str(path),
                input_names=list(_INPUTS),
                output_names=["logits"],
                dynamic_axes={name: {0: "rows", 1: "length"} for name in _INPUTS},
                dynamo=False,
            )
        return path


# The order of BertForSequenceClassification's arguments.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class StockKerasPredictor:
    """KerasHub's model under `keras.Model.predict`, padded to the full length."""

    name = "keras"
    settings = {"precision": "float32", "padding": "max_length"}

    def __init__(self, task: Task):
        self._model = keras_sides.build_stock_keras(task)
        self._inputs = task.encoded.pad(task.max_length)
        self._batch_size = task.batch_size

    def predict(self) -> np.ndarray:
        """Return probabilities."""
        size = self._batch_size
        return self._model.predict(self._inputs, batch_size=size, verbose=0)


PREDICTORS = {
    side.name: side
    for side in (
        TransformersPredictor,
        SentenceTransformersPredictor,
        OnnxPredictor,
        StockKerasPredictor,
    )
}


def build_predictor(name: str, task: Task, settings: dict | None = None) -> Predictor:
    """Build kbert's side or one of `PREDICTORS`.

    Args:
        name: `kbert` or the opponent's.
        task: what to predict.
        settings: what it was run with before, so that nothing is tried again.
    """
    if name == KbertPredictor.name:
        return KbertPredictor(task)
    kind = PREDICTORS[name]
    is_tried = settings and kind is TransformersPredictor
    return kind(task, settings) if is_tried else kind(task)


def why_not(name: str) -> str | None:
    """Return why an opponent cannot be measured here, or `None`."""
    if name != "onnxruntime":
        return None
    needed = ("onnxruntime", "onnx")
    missing = [one for one in needed if importlib.util.find_spec(one) is None]
    if not missing:
        return None
    return f"torch.onnx cannot export without {' and '.join(missing)}; not installed"


def _clean(task: Task):
    """Return the texts after the workload's cleaning, done before the clock starts."""
    from kbert.text import clean_text

    texts, pairs = task.workload.texts, task.workload.text_pairs
    if task.workload.clean:
        texts = [clean_text(text, task.workload.clean) for text in texts]
    return texts, pairs


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()
