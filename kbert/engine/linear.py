"""Dense layers that multiply in one number format and train in float32."""

from collections.abc import Sequence

import torch

# Values of a weight that are compared to notice a write that torch does not count.
_SAMPLES = 16

Product = tuple[torch.Tensor, torch.Tensor]  # kernel (inputs, outputs), bias (outputs,)


class Linear:
    """One or more dense layers of the same input, their outputs side by side.

    Query, key and value are three layers in Keras and one here. In float32 the
    layers' own weights are multiplied with; in another format their copies, joined to
    one product.

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
        self.layers, self.dtype = tuple(layers), dtype
        self.parameters = [tensor for layer in layers for tensor in layer]
        self._num_inputs = num_inputs
        self._own = [
            (self._flatten(kernel), bias.detach().flatten()) for kernel, bias in layers
        ]
        self._copy: Product | None = None
        self._state: list = []

    def _flatten(self, kernel: torch.Tensor) -> torch.Tensor:
        inputs = kernel.shape[: self._num_inputs].numel()
        return kernel.detach().view(inputs, -1)

    def get_products(self, training: bool) -> list[Product]:
        """Return what to multiply with: the layers' own weights, or one joined copy.

        A copy is made for every pass that trains. Passes that do not train share one
        on a CPU as long as no weight changes.
        """
        if self.dtype == torch.float32:
            return self._own
        if training or self._own[0][0].is_cuda:
            return [self._join()]
        state = self._read_state()
        if self._copy is None or state != self._state:
            self._copy, self._state = self._join(), state
        return [self._copy]

    def _join(self) -> Product:
        kernels, biases = zip(*self._own, strict=True)
        kernel = torch.cat([kernel.to(self.dtype) for kernel in kernels], 1)
        return kernel, torch.cat(biases).to(self.dtype)

    def _read_state(self) -> list:
        """Return what differs once a weight was written to.

        Fused optimizers and writes through `.data` are not counted as versions, but
        change all values, so a sample of them shows it.
        """
        versions = [parameter._version for parameter in self.parameters]
        for parameter in self.parameters:
            values = parameter.detach().view(-1)
            versions += values[:: max(1, len(values) // _SAMPLES)].tolist()
        return versions

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` times the kernels plus the biases, (rows, outputs of all)."""
        if torch.is_grad_enabled():
            return _Product.apply(x, self, *self.parameters)
        return _multiply(x, self.get_products(training=False))


def _multiply(x: torch.Tensor, products: Sequence[Product]) -> torch.Tensor:
    if len(products) == 1:
        kernel, bias = products[0]
        return torch.addmm(bias, x, kernel)
    output = x.new_empty(x.shape[0], sum(len(bias) for _, bias in products))
    start = 0
    for kernel, bias in products:
        stop = start + len(bias)
        torch.addmm(bias, x, kernel, out=output[:, start:stop])
        start = stop
    return output


class _Product(torch.autograd.Function):
    """The product, with gradients for the float32 weights.

    They are summed in float32, rounded to the products' format as any product of that
    format is, and kept in float32.
    """

    @staticmethod
    def forward(ctx, x, linear, *parameters):
        products = linear.get_products(training=True)
        ctx.linear = linear
        ctx.save_for_backward(x, *(kernel for kernel, _ in products))
        return _multiply(x, products)

    @staticmethod
    def backward(ctx, gradient):
        x, *kernels = ctx.saved_tensors
        parts = gradient.split([kernel.shape[1] for kernel in kernels], 1)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = parts[0] @ kernels[0].t()
            for part, kernel in zip(parts[1:], kernels[1:], strict=True):
                d_x.addmm_(part, kernel.t())
        wanted = ctx.needs_input_grad[2:]
        return d_x, None, *_differentiate(ctx.linear, x, gradient, parts, wanted)


def _differentiate(linear, x, gradient, parts, wanted):
    """Return the gradients of each layer's kernel and bias; see `_Product`."""
    if not any(wanted):
        return [None] * len(wanted)
    widths = [bias.numel() for _, bias in linear.layers]
    d_biases = _sum_rows(gradient).split(widths)
    d_kernels = [x.t() @ part for part in parts]
    if len(d_kernels) < len(widths):
        d_kernels = d_kernels[0].split(widths, 1)
    results = []
    for (kernel, bias), d_kernel, d_bias in zip(
        linear.layers, d_kernels, d_biases, strict=True
    ):
        # Fused optimizers take gradients to be laid out as the weights are.
        results.append(d_kernel.float().contiguous().view(kernel.shape))
        results.append(d_bias.view(bias.shape))
    return [
        result if needed else None
        for result, needed in zip(results, wanted, strict=True)
    ]


def _sum_rows(gradient: torch.Tensor) -> torch.Tensor:
    """Sum over the tokens in float32."""
    if gradient.dtype == torch.bfloat16 and gradient.device.type == "cpu":
        # Asked for a float32 result, torch writes the whole gradient out in float32
        # first. This adds in float32 too and rounds once, as the products do.
        return gradient.sum(0).float()
    return gradient.sum(0, dtype=torch.float32)  # of float16 it could overflow
