"""A folder with an ONNX model, its tokenizer and its labels."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kbert.exporting.folder import write_json
from kbert.exporting.head import read_parts
from kbert.exporting.hugging_face import describe_for_kbert, name_labels
from kbert.exporting.onnx_graph import build_onnx_model
from kbert.exporting.tokenizer_files import INPUT_NAMES, write_tokenizer
from kbert.models import Model

_INSTALL = "pip install kbert[onnx]"
MODEL_FILE = "model.onnx"


def write_onnx(folder: Path, model: Model, *, int8: bool = False) -> None:
    """Write `model.onnx`, the tokenizer's files and `config.json`.

    Args:
        folder: exists and is empty.
        model: what to write.
        int8: round the kernels of products to 8 bits.

    Raises:
        RuntimeError: the extra `onnx` is not installed.
    """
    assert model.preprocessor is not None
    check_onnx(int8)
    import onnx

    parts = read_parts(model)
    built = build_onnx_model(parts)
    onnx.checker.check_model(built)
    target = folder / MODEL_FILE
    onnx.save(built, target)
    if int8:
        _quantize(target)
    names = name_labels(model, len(parts.head.last.bias))
    labels = {} if parts.head.task == "answer" else dict(enumerate(names))
    own = describe_for_kbert(model, parts)
    write_json(folder / "config.json", {"id2label": labels, "kbert": own})
    write_tokenizer(folder, model.preprocessor)


def check_onnx(int8: bool) -> None:
    """Refuse to begin without the libraries that are needed.

    Args:
        int8: whether onnxruntime is needed too.

    Raises:
        RuntimeError: one is not installed.
    """
    import importlib.util

    for name in ("onnx", *(("onnxruntime",) if int8 else ())):
        if importlib.util.find_spec(name) is None:
            raise RuntimeError(
                f"exporting to ONNX needs the package {name}, which is not installed; "
                f"install it: {_INSTALL}"
            )


def _quantize(file: Path) -> None:
    """Round the kernels of a model's products to 8 bits, in its place."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact = file.with_name("exact.onnx")
    file.rename(exact)
    logger = logging.getLogger()  # the library advises there, on what is not done
    before = logger.level
    logger.setLevel(logging.ERROR)
    # Without any handler its first word would give all loggers one, for good.
    quiet = logging.NullHandler()
    logger.addHandler(quiet)
    try:
        quantize_dynamic(
            exact,
            file,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # sums of pairs fit into 16 bits without VNNI
        )
    finally:
        logger.removeHandler(quiet)
        logger.setLevel(before)
        exact.unlink()


class ExportedModel:
    """An exported model in place of the one that it came from, to compare them.

    Args:
        folder: what `write_onnx` wrote.
        model: whose text handling, labels and settings to use.
    """

    def __init__(self, folder: Path, model: Model):
        import onnxruntime

        self.preprocessor, self.label_names = model.preprocessor, model.label_names
        self.metadata = model.metadata
        self._session = onnxruntime.InferenceSession(
            str(folder / MODEL_FILE), providers=["CPUExecutionProvider"]
        )
        self._names = [one.name for one in self._session.get_outputs()]

    def predict(self, texts: Any, batch_size: int = 32) -> np.ndarray:
        """Return probabilities, or scores, float32, a row a text or pair of texts."""
        assert self.preprocessor is not None
        rows = []
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            pairs = (
                zip(*batch, strict=True) if not isinstance(batch[0], str) else [batch]
            )
            encoded = self.preprocessor.encode(*map(list, pairs))
            rows.append(self.predict_on_batch(encoded.pad()))
        return np.concatenate(rows)

    def predict_on_batch(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what the model that it came from returns for a padded batch.

        Of two classes behind a sigmoid it is the probability of each.

        Args:
            arrays: `token_ids`, `padding_mask` and perhaps `segment_ids`, int (batch,
                length).
        """
        inputs = {INPUT_NAMES[k]: v.astype(np.int64) for k, v in arrays.items()}
        outputs = self._session.run(self._names, inputs)
        if len(outputs) == 1 or self._names[-1] == "probabilities":
            return outputs[-1]
        is_token = torch.from_numpy(arrays["padding_mask"] == 1)[:, None]
        logits = torch.from_numpy(np.stack(outputs, axis=1))  # of first and last tokens
        return logits.masked_fill(~is_token, -torch.inf).softmax(-1).numpy()
