"""Integrated gradients of a prediction, along the way from a text of padding."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.evaluation import shift_to_half
from kbert.explaining.explanation import Explanation, Piece
from kbert.explaining.words import Row, read_row
from kbert.tasks import find_task
from kbert.tasks.task import PAIRED

if TYPE_CHECKING:
    import torch

    from kbert.models import Model

# How far the sum of attributions may be off what they explain.
TOLERANCE = 0.05
MAX_STEPS = 2_048
# Texts that run through the encoder at a time, and tokens of all of them.
_BATCH_ROWS, _BATCH_TOKENS = 32, 4_096
_BASELINES = {"pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")}


def explain(
    model: "Model | str | os.PathLike",
    text: str,
    text_pair: str | None = None,
    *,
    target: str | int | None = None,
    steps: int = 32,
    baseline: str = "pad",
) -> Explanation:
    """Find out how much each word moved a prediction.

    Integrated gradients on the token embeddings: the gradient of the target's log odds
    (of a score: of the score), averaged over points between a text of padding and the
    text, times the way between them. What the tokens add sums to the difference of the
    two predictions; steps are doubled until it does within 5 %.

    Args:
        model: a model, a run, or a path as `kbert.load_model` takes it; of texts, with
            one encoder and one output: labels or a score.
        text: raw text.
        text_pair: second text, for a model of pairs.
        target: label to explain, its name or id; `None`: what the model predicts, of
            several labels the one furthest above its threshold.
        steps: points to begin with, at least 1.
        baseline: `pad` or `mask`: the token that stands for no word at all.

    Returns:
        The explanation; its `converged` is false where 2,048 steps were not enough.

    Raises:
        RuntimeError: captum is not installed.
        FileNotFoundError: there is no such model.
        ValueError: the model, the label or a value does not fit; the sentence says how.

    Source: Sundararajan et al. (2017), Axiomatic Attribution for Deep Networks.

    Example:
        >>> print(kbert.explain(run, "a lovely film with a dull end"))
    """
    model = _find_model(model)
    _check(model, steps, baseline)
    if text_pair is None and model.metadata.get(PAIRED):
        raise ValueError(
            "the model was trained on pairs of texts, and one text was given; give the "
            "second too: --text-pair, in Python text_pair=."
        )
    row = read_row(model.preprocessor, text, text_pair)  # type: ignore[arg-type]
    path = _build_path(model, row, baseline)
    target_id = _find_target(model, target, path.outputs)
    difference = path.values(target_id)
    while True:
        attributions = path.integrate(target_id, steps)
        shift = difference[1] - difference[0]
        error = abs(float(attributions.sum()) - shift)
        gap = error / abs(shift) if shift else float(error > 0)
        if gap <= TOLERANCE or 2 * steps > MAX_STEPS:
            break
        steps *= 2
    tokens, words = _collect(row, attributions)
    return Explanation(
        texts=row.texts,
        **_describe_target(model, path.outputs, target_id),
        value=difference[1],
        baseline_value=difference[0],
        baseline=baseline,
        tokens=tokens,
        words=words,
        num_steps=steps,
        gap=gap,
        converged=gap <= TOLERANCE,
        num_left_out=row.num_left_out,
    )


def _find_model(source: Any) -> "Model":
    """Return a model itself, that of a run, or the one a path leads to."""
    from kbert.models import Model, load_model

    found = getattr(source, "model", source)
    if isinstance(found, Model):
        return found
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            "model must be a kbert.Model, a run or the path of one; received "
            f"{type(source).__name__}."
        )
    return load_model(source, compile=False)


def _check(model: "Model", steps: int, baseline: str) -> None:
    if model.preprocessor is None:
        raise ValueError("only a model of texts can be explained; set preprocessor.")
    if len(model.backbones) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "only a model of one encoder and one output can be explained; this one has "
            f"{len(model.backbones)} and {len(model.outputs)}."
        )
    if len(model.output_shape) != 2:
        raise ValueError(
            "only predictions of labels and scores can be explained; this model gives "
            f"the shape {model.output_shape}."
        )
    if not model.backbone.runs_packed:
        raise ValueError(
            "an encoder with LoRA or quantised layers cannot be explained; explain "
            "the model as it was before."
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1; received {steps}.")
    if baseline not in _BASELINES:
        raise ValueError(f"baseline must be 'pad' or 'mask'; received {baseline!r}.")


@dataclass(frozen=True)
class _Path:
    """The straight way from a text of padding to a text, in the token vectors.

    Args:
        model: explained.
        inputs: int32 tensors of one row under the graph's names.
        columns: int64 (num_windows, length), tokens of each row of the encoder.
        ends: float32 (2, num_tokens, hidden_dim): of the padding, of the text.
        activation: name of the last one.
        outputs: float32 (num_outputs,): what the model shows for the text.
    """

    model: "Model"
    inputs: dict[str, "torch.Tensor"]
    columns: "torch.Tensor"
    ends: "torch.Tensor"
    activation: str
    outputs: np.ndarray

    def values(self, target: int) -> tuple[float, float]:
        """Return the target's value at both ends."""
        import torch

        with torch.no_grad():
            first, last = self.run(self.ends, target).tolist()
        return first, last

    def run(self, vectors: "torch.Tensor", target: int) -> "torch.Tensor":
        """Return the target's log odds, or the score: (num_rows,)."""
        outputs = _run(self.model, self.inputs, self.columns, vectors)
        logits = getattr(outputs, "_keras_logits", outputs).float()
        if self.activation != "softmax":
            return logits[:, target]
        others = [i for i in range(logits.shape[1]) if i != target]
        return logits[:, target] - logits[:, others].logsumexp(1)

    def integrate(self, target: int, steps: int) -> np.ndarray:
        """Return what each token adds, float64 (num_tokens,)."""
        from captum.attr import IntegratedGradients

        baseline, text = self.ends[:1], self.ends[1:]
        rows = max(1, min(_BATCH_ROWS, _BATCH_TOKENS // self.columns.numel()))
        found = IntegratedGradients(lambda x: self.run(x, target)).attribute(
            text, baseline, n_steps=steps, internal_batch_size=rows
        )
        return found.detach().double().sum(-1)[0].cpu().numpy()


def _build_path(model: "Model", row: Row, baseline: str) -> _Path:
    import torch

    _require_captum()
    table = _find_table(model).detach()
    inputs = {
        name: torch.tensor(values, device=table.device)
        for name, values in row.inputs.items()
    }
    columns = torch.tensor(row.columns, dtype=torch.int64, device=table.device)
    ids = torch.tensor(row.ids, dtype=torch.int64, device=table.device).repeat(2, 1)
    replaced = [place.column for place in row.places]
    ids[0, replaced] = _find_baseline(model, baseline)
    ends = torch.nn.functional.embedding(ids, table)
    with torch.no_grad():
        outputs = _run(model, inputs, columns, ends[1:])[0].float().cpu().numpy()
    return _Path(model, inputs, columns, ends, _find_activation(model), outputs)


def _run(
    model: "Model",
    inputs: dict[str, "torch.Tensor"],
    columns: "torch.Tensor",
    vectors: "torch.Tensor",
) -> "torch.Tensor":
    count = len(vectors)
    rows = {name: one.expand(count, *one.shape[1:]) for name, one in inputs.items()}
    return model.run_on_vectors(rows, vectors[:, columns].flatten(0, 1))


def _find_activation(model: "Model") -> str:
    """Name what makes the outputs of logits; windows are pooled before it."""
    import keras

    operation = model.outputs[0]._keras_history.operation
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(operation, "activation", None), "__name__", "linear")


def _find_table(model: "Model") -> "torch.Tensor":
    backbone = model.backbone
    tables = backbone if backbone.config.family == "bert" else backbone.embeddings
    return tables.token_embedding.embeddings.value


def _find_baseline(model: "Model", baseline: str) -> int:
    tokenizer = model.preprocessor.tokenizer  # type: ignore[union-attr]
    if baseline == "pad":
        return tokenizer.pad_id
    found = [tokenizer._backend.token_to_id(token) for token in _BASELINES[baseline]]
    known = [one for one in found if one is not None]
    if not known:
        raise ValueError(
            "the vocabulary has no mask token; leave baseline='mask' out to compare "
            "with padding."
        )
    return known[0]


def _find_target(model: "Model", target: str | int | None, outputs: np.ndarray) -> int:
    names = model.label_names or ()
    if target is None:
        return _find_predicted(model, outputs)
    if isinstance(target, str):
        if target in names:
            return names.index(target)
        if not target.isdecimal():
            known = ", ".join(map(repr, names[:8])) or "numbers only"
            raise ValueError(f"the model has no label {target!r}; it has {known}.")
    number = int(target)
    if not 0 <= number < len(outputs):
        raise ValueError(
            f"target must be a label id in [0, {len(outputs)}) or a label's name; "
            f"received {target!r}."
        )
    return number


def _find_predicted(model: "Model", outputs: np.ndarray) -> int:
    """Return what the model predicts; of several labels that furthest above its own."""
    task = "multilabel" if _find_activation(model) == "sigmoid" else "classify"
    options = find_task(model.task or task).find_options(model)
    return int(shift_to_half(outputs[None], **options).argmax())


def _describe_target(
    model: "Model", outputs: np.ndarray, target: int
) -> dict[str, Any]:
    names = model.label_names or tuple(map(str, range(len(outputs))))
    if _find_activation(model) not in ("softmax", "sigmoid"):
        title = names[target] if len(outputs) > 1 else "score"
        return {
            "target": title, "predicted": None, "probability": None, "quantity": "score"
        }  # fmt: skip
    return {
        "target": names[target],
        "predicted": names[_find_predicted(model, outputs)],
        "probability": float(outputs[target]),
        "quantity": "log odds",
    }


def _collect(
    row: Row, attributions: np.ndarray
) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Name the tokens that come from the texts, and sum them up by word."""
    tokens: list[tuple[tuple[str, int], Piece]] = []
    for place in row.places:
        text = row.texts[place.part == "text_pair"]
        start, end = _trim(text, place.start, place.end)
        value = float(attributions[place.column])
        piece = Piece(text[start:end], value, place.part, start, end)
        tokens.append(((place.part, place.word), piece))
    words: dict[tuple[str, int], list[Piece]] = {}
    for key, piece in tokens:
        words.setdefault(key, []).append(piece)
    return (
        tuple(piece for _, piece in tokens),
        tuple(_join(pieces, row) for pieces in words.values()),
    )


def _join(pieces: Iterable[Piece], row: Row) -> Piece:
    pieces = list(pieces)
    start, end = min(p.start for p in pieces), max(p.end for p in pieces)
    part = pieces[0].part
    text = row.texts[part == "text_pair"][start:end]
    return Piece(text, sum(p.attribution for p in pieces), part, start, end)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out the space that byte-level tokens begin with."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _require_captum() -> None:
    try:
        import captum.attr  # noqa: F401
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "explanations need captum, which is not installed; run "
            "pip install kbert[trust]."
        ) from error
