"""Matrix products in 8 bits, for prediction on a CPU."""

import warnings

import torch

from kbert.engine.linear import Linear


def is_available() -> bool:
    """Whether this torch has 8-bit products on this CPU."""
    return hasattr(torch.ops.quantized, "linear_dynamic") and (
        torch.backends.quantized.engine not in ("", "none")
    )


class Int8Linear(Linear):
    """Dense layers whose kernels are rounded to 8 bits, a scale for every output.

    Inputs are rounded to 8 bits as they come, with one scale a call; sums are exact and
    biases float32. It does not train.

    Args:
        layers: as in `Linear`.
        dtype: of what flows between layers, float32.
        num_inputs: as in `Linear`.

    Source: Jacob et al. (2018), dynamic quantisation.
    """

    def get_packed(self):
        """Return the rounded kernels, as of the weights now."""
        state = self._read_state()
        if state != self._state:
            self._packed, self._state = _pack(*self._join()), state
        return self._packed

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` times the kernels plus the biases, (rows, outputs of all)."""
        # Half the range of inputs, so that sums of pairs fit into 16 bits without VNNI.
        return torch.ops.quantized.linear_dynamic(x, self.get_packed(), True)


def _pack(kernel: torch.Tensor, bias: torch.Tensor):
    weight = kernel.t().contiguous()
    scale = weight.abs().amax(1).clamp(min=1e-12).double() / 127
    zero = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():
        # torch announces that these tensors will go; `is_available` asks first.
        warnings.simplefilter("ignore")
        rounded = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(rounded, bias)
