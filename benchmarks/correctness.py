"""Correctness of the engine on a device, before any speed is believed.

Run:    python -m benchmarks.correctness --device cuda

Outputs and gradients of the packed encoder, in float32 and bfloat16, against KerasHub's
own backbones with the same weights in float32: for three families, on ragged batches,
one text, equal lengths, texts of nothing but two tokens, and one long text among short
ones; and the whole classifier against transformers' on real texts. Ends with exit
status 1 on a miss.
"""

import math
import sys
from pathlib import Path

import numpy as np

from benchmarks import command, keras_sides, machine, records
from benchmarks.tasks import build_task
from benchmarks.transformers_model import build_transformers_model

OUTPUT_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-4
BFLOAT16_TOLERANCE = 0.05  # relative to the largest value
_FAMILIES = {
    "bert": "BertBackbone",
    "distil_bert": "DistilBertBackbone",
    "roberta": "RobertaBackbone",
}
_SHAPE = {"vocabulary_size": 97, "num_layers": 3, "num_heads": 2, "hidden_dim": 64}
_SHAPE |= {"intermediate_dim": 128, "max_sequence_length": 512}
_LENGTHS = {
    "ragged": (17, 3, 64, 31, 2, 40, 9),
    "one text": (23,),
    "two tokens": (2, 2, 2),
    "equal": (24,) * 5,
    "one long": (512, 7, 5, 12, 9),
}


def main(argv: list[str] | None = None) -> dict:
    """Check as the command line asks; return the result."""
    parser = command.build_parser(__doc__, repeats=1)
    command.add_model_flags(parser, workload="mrpc")
    args = command.parse(parser, argv)
    machine.prepare_process(args.device)
    misses: list[str] = []
    found: dict[str, float] = {}
    for family in _FAMILIES:
        for name, lengths in _LENGTHS.items():
            lengths = [min(one, 64) for one in lengths] if args.quick else lengths
            for precision in ("float32", "bfloat16"):
                errors = _check_family(family, lengths, precision)
                for what, error in errors.items():
                    found[f"{family}, {name}, {precision} {what}"] = error
    found["classifier against transformers, logits"] = _check_classifier(args)
    for name, error in found.items():
        if not error <= _tolerance(name):
            misses.append(name)
        print(f"{'MISS' if name in misses else 'ok'}: {name}: {error:.2e}")
    result = {"workload": args.workload, "against": "keras_hub, transformers"}
    result |= {"errors": found, "misses": misses}
    record = records.build_record(
        "correctness",
        args.device,
        result,
        args,
        config={
            "device": args.device,
            "dtype": "float32",
            "preset": Path(args.preset).name,
        },
    )
    return records.finish(record, args.results)


def _tolerance(name: str) -> float:
    if "bfloat16" in name:
        return BFLOAT16_TOLERANCE
    if name.endswith("logits"):
        return LOGIT_TOLERANCE
    return GRADIENT_TOLERANCE if name.endswith("gradients") else OUTPUT_TOLERANCE


def _check_family(family: str, lengths, precision: str) -> dict[str, float]:
    """Return the largest error of the outputs and, relative, of the gradients.

    The reference is float32 in both precisions; bfloat16's errors are all relative.
    """
    import torch

    ours, theirs = _build_pair(family, precision)
    device = ours.weights[0].value.device
    inputs = _make_inputs(ours, lengths, device)
    mask = inputs["padding_mask"][..., None]
    shape = (*mask.shape[:2], _SHAPE["hidden_dim"])
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(shape, generator=generator).to(device) * mask
    results = []
    for model, outputs in (
        (ours, ours.encode(inputs)),
        (theirs, theirs(inputs, training=False)),
    ):
        outputs = outputs if isinstance(outputs, dict) else {"sequence_output": outputs}
        sequence = outputs["sequence_output"]
        loss = (sequence * direction).sum()
        if "pooled_output" in outputs and outputs["pooled_output"] is not None:
            loss = loss + outputs["pooled_output"].sum()
        values = [variable.value for variable in model.trainable_variables]
        paths = [variable.path for variable in model.trainable_variables]
        gradients = torch.autograd.grad(loss, values)
        named = dict(zip(paths, gradients, strict=True))
        results.append(((sequence * mask).detach(), named))
    (own, own_gradients), (other, other_gradients) = results
    scale = float(other.abs().max()) if precision == "bfloat16" else 1.0
    return {
        "outputs": float((own - other).abs().max()) / scale,
        "gradients": _compare_gradients(own_gradients, other_gradients),
    }


def _compare_gradients(own: dict, other: dict) -> float:
    """Return the largest difference of a weight's gradients, over their norm.

    Some are 0 but for rounding, as the key's bias, so that a hundredth of the norm over
    all weights is the floor of a norm.
    """
    norms = {path: float(gradient.norm()) for path, gradient in other.items()}
    floor = 1e-2 * math.hypot(*norms.values())
    return max(
        float((own[path] - other[path]).norm()) / max(norm, floor)
        for path, norm in norms.items()
    )


def _build_pair(family: str, precision: str):
    import keras_hub

    from kbert.engine.backbone import Backbone
    from kbert.engine.config import EncoderConfig

    theirs = getattr(keras_hub.models, _FAMILIES[family])(**_SHAPE, dropout=0.0)
    extra = {"activation": "gelu_approximate"} if family == "bert" else {}
    epsilon = {"roberta": 1e-5}.get(family, 1e-12)
    config = EncoderConfig(
        family=family, **_SHAPE, **extra, layer_norm_epsilon=epsilon, dropout=0.0
    )
    ours = Backbone(config, precision=precision)
    generator = np.random.default_rng(0)
    values = {v.path: generator.normal(0, 0.1, v.shape) for v in theirs.weights}
    for model in (ours, theirs):
        for variable in model.weights:
            variable.assign(values[variable.path])
    return ours, theirs


def _make_inputs(backbone, lengths, device) -> dict:
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, _SHAPE["vocabulary_size"], shape, generator=generator)
    segments = torch.randint(2, shape, generator=generator)
    arrays = {"token_ids": ids, "segment_ids": segments, "padding_mask": mask}
    return {name: arrays[name].int().to(device) for name in backbone.input}


def _check_classifier(args) -> float:
    """Return the largest difference of the logits, apart from a shared shift."""
    import torch

    options = command.task_options(args) | {"precision": "float32", "limit": 32}
    task = build_task(**options)
    rows = np.arange(len(task.workload))
    ours = np.log(keras_sides.KbertSide(task).predict(rows))
    model = build_transformers_model(task).eval()
    arrays = task.encoded.pad()
    names = ("token_ids", "padding_mask", "segment_ids")
    tensors = [torch.from_numpy(arrays[n]).long().to(args.device) for n in names]
    with torch.inference_mode():
        logits = model(*tensors).logits
    theirs = torch.log_softmax(logits, -1).cpu().numpy()
    return float(np.abs(ours - theirs).max())


if __name__ == "__main__":
    sys.exit(bool(main()["misses"]))
