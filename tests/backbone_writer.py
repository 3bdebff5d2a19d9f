"""Write what KerasHub's own backbones compute from given weights and inputs.

Run by tests/test_engine_real.py in a process of its own: KerasHub takes seconds to
import, and the library under test must work without it. The argument is a folder. For
each family that a line of standard input names, its .npz file there is read
(`weight:<path>`, `input:<name>` and `probe:<output>`), one with `output:<name>` and
`gradient:<path>` is written beside it, and a line is printed.
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
sys.modules["tensorflow"] = None  # type: ignore[assignment]  # half of KerasHub's time
sys.modules["tensorflow_text"] = None  # type: ignore[assignment]

import keras_hub  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

BACKBONES = {
    "bert": keras_hub.models.BertBackbone,
    "distil_bert": keras_hub.models.DistilBertBackbone,
    "roberta": keras_hub.models.RobertaBackbone,
}


def select(case, kind: str) -> dict:
    prefix = f"{kind}:"
    return {k.removeprefix(prefix): case[k] for k in case if k.startswith(prefix)}


def run(family: str, shape: dict, case) -> dict:
    backbone = BACKBONES[family](**shape)
    weights = select(case, "weight")
    for variable in backbone.weights:
        variable.assign(weights.pop(variable.path))
    assert not weights, sorted(weights)
    outputs = backbone(select(case, "input"))
    if family != "bert":
        outputs = {"sequence_output": outputs}
    probes = select(case, "probe")
    loss = sum((outputs[k] * torch.as_tensor(probes[k])).sum() for k in probes)
    values = [variable.value for variable in backbone.weights]
    gradients = torch.autograd.grad(loss, values, allow_unused=True)
    results = {f"output:{k}": v.detach().numpy() for k, v in outputs.items()}
    for variable, value, gradient in zip(
        backbone.weights, values, gradients, strict=True
    ):
        gradient = torch.zeros_like(value) if gradient is None else gradient
        results[f"gradient:{variable.path}"] = gradient.numpy()
    return results


def main(root: Path) -> None:
    torch.set_num_threads(1)
    shape = json.loads((root / "shape.json").read_text(encoding="utf-8"))
    for line in sys.stdin:
        family = line.strip()
        with np.load(root / f"{family}.npz") as case:
            np.savez(root / f"{family}_keras_hub.npz", **run(family, shape, case))
        print(family, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
