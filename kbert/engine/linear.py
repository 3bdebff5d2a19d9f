"""Dense layers that multiply in one number format and train in float32."""

from collections.abc import Sequence

import torch


class Linear:
    """One product for one or more dense layers of the same input.

    Query, key and value are three layers in Keras and one product here. The kernels
    are copied to the format of the products, side by side; in float32 a single kernel
    is used as it is.

    Args:
        layers: kernel and bias of each, float32; a kernel's shape is flattened to
            (inputs, outputs) after `num_inputs` axes.
        dtype: of the products.
        num_inputs: axes of a kernel that are inputs.
    """

    def __init__(
        self,
        layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
        dtype: torch.dtype,
        num_inputs: int = 1,
    ):
        self.layers, self.num_inputs = tuple(layers), num_inputs
        self.parameters = [tensor for layer in layers for tensor in layer]
        self._versions: list[int] | None = None
        kernels = [self._flatten(kernel) for kernel, _ in layers]
        self._is_copy = len(layers) > 1 or dtype != torch.float32
        if not self._is_copy:
            self.kernel, self.bias = kernels[0], layers[0][1].detach().flatten()
            return
        widths = [kernel.shape[1] for kernel in kernels]
        self.kernel = kernels[0].new_empty(
            kernels[0].shape[0], sum(widths), dtype=dtype
        )
        self.bias = kernels[0].new_empty(sum(widths), dtype=dtype)
        self._kernels = self.kernel.split(widths, 1)
        self._biases = self.bias.split(widths)

    def _flatten(self, kernel: torch.Tensor) -> torch.Tensor:
        kernel = kernel.detach()
        inputs = kernel.shape[: self.num_inputs].numel()
        return kernel.view(inputs, -1)

    def refresh(self) -> None:
        """Copy the weights again, unless they cannot have changed since."""
        if not self._is_copy:
            return
        versions = [parameter._version for parameter in self.parameters]
        if versions == self._versions:
            return
        for target, (kernel, _) in zip(self._kernels, self.layers, strict=True):
            target.copy_(self._flatten(kernel))
        for target, (_, bias) in zip(self._biases, self.layers, strict=True):
            target.copy_(bias.detach().flatten())
        # Fused optimizers change weights without counting it, so what was read for
        # training is read again.
        self._versions = None if torch.is_grad_enabled() else versions

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` times the kernel plus the bias, (rows, outputs)."""
        if torch.is_grad_enabled():
            return _Product.apply(x, self, *self.parameters)
        return torch.addmm(self.bias, x, self.kernel)


class _Product(torch.autograd.Function):
    """The product, with float32 gradients for the float32 weights."""

    @staticmethod
    def forward(ctx, x, linear, *parameters):
        ctx.linear = linear
        # Copied kernels are refreshed in place by the next forward pass, which must
        # not come before this one's backward pass.
        ctx.save_for_backward(x, linear.kernel)
        return torch.addmm(linear.bias, x, linear.kernel)

    @staticmethod
    def backward(ctx, gradient):
        x, kernel = ctx.saved_tensors
        d_x = gradient @ kernel.t() if ctx.needs_input_grad[0] else None
        wanted = ctx.needs_input_grad[2:]
        return d_x, None, *_differentiate(ctx.linear, x, gradient, wanted)


def _differentiate(linear, x, gradient, wanted):
    """Return the gradients of each layer's kernel and bias, float32."""
    if not any(wanted):
        return [None] * len(wanted)
    d_kernel = x.t() @ gradient
    d_bias = gradient.sum(0, dtype=torch.float32)
    results, start = [], 0
    for kernel, bias in linear.layers:
        stop = start + bias.numel()
        # Fused optimizers take gradients to be laid out as the weights are.
        part = d_kernel[:, start:stop].float().contiguous()
        results.append(part.view(kernel.shape))
        results.append(d_bias[start:stop].view(bias.shape))
        start = stop
    return [
        result if needed else None
        for result, needed in zip(results, wanted, strict=True)
    ]
