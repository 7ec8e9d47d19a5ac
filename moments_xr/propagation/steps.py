"""The steps of a layer: convolution, batch norm, activation, addition, rescaling (THEORY 1).

Signal and noise go through each step together, as one tensor `pair` of shape (realization, 2, sample, *space, channel):
`pair[:, 0]` is the signal and `pair[:, 1]` the noise. A name that ends in `_` changes its argument.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from moments_xr.activations import Activation
from moments_xr.errors import RequestError


def flat(pair: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal and noise as (realization, position, channel), positions being those of all samples; views."""
    signal, noise = pair.flatten(2, -2).unbind(1)
    return signal, noise


def convolve(
    pair: torch.Tensor,
    kernel: torch.Tensor,
    bias: torch.Tensor | None = None,
    boundary: str = "periodic",
    stride: int = 1,
) -> torch.Tensor:
    """y = W ∗ x + b and dy = W ∗ dx.

    `kernel` is (realization, output, *kernel, input), `bias` (realization, output). The pair returned is a new tensor.
    """
    realizations, out = kernel.shape[:2]
    dimensions = kernel.ndim - 3
    if all(extent == 1 for extent in kernel.shape[2:-1]) and stride == 1:
        vectors = pair.reshape(realizations, -1, pair.shape[-1])
        result = torch.bmm(vectors, kernel.reshape(realizations, out, -1).mT).view(*pair.shape[:-1], out)
    else:
        padded = pad(pair, kernel.shape[2:-1], boundary, stride)
        function = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
        first = (0, dimensions + 1, *range(1, dimensions + 1))
        last = (0, *range(2, dimensions + 2), 1)
        parts = [
            function(x.flatten(0, 1).permute(first), w.permute(first), stride=stride).permute(last)
            for x, w in zip(padded, kernel, strict=True)
        ]
        result = torch.stack(parts) if len(parts) > 1 else parts[0][None]
        result = result.contiguous().view(*pair.shape[:3], *result.shape[2:])
    if bias is not None:
        result[:, 0] += bias.view(realizations, *(1,) * (dimensions + 1), out)
    return result


def pad(pair: torch.Tensor, kernel: tuple[int, ...], boundary: str, stride: int) -> torch.Tensor:
    """The pair with its boundaries extended (THEORY 1): each position of the result is copied from one of the pair."""
    space = pair.shape[3:-1]
    widths = tuple(padding(n, k, boundary, stride) for n, k in zip(space, kernel, strict=True))
    if boundary == "zero":
        return F.pad(pair, (0, 0, *(w for pads in reversed(widths) for w in pads)))
    source = _sources(tuple(space), widths, boundary).to(pair.device)
    extended = tuple(n + sum(pads) for n, pads in zip(space, widths, strict=True))
    vectors = pair.flatten(3, -2).flatten(0, 2)
    return vectors.index_select(1, source).view(*pair.shape[:3], *extended, pair.shape[-1])


def padding(extent: int, kernel: int, boundary: str, stride: int) -> tuple[int, int]:
    """How many positions are added at the low and at the high end of an axis."""
    if boundary == "periodic":
        return kernel - 1, 0
    if boundary == "symmetric":
        return (kernel - 1) // 2, (kernel - 1) // 2
    total = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
    return total // 2, total - total // 2


@cache
def _sources(space: tuple[int, ...], widths: tuple[tuple[int, int], ...], boundary: str) -> torch.Tensor:
    positions = np.arange(np.prod(space)).reshape(space)
    return torch.from_numpy(np.pad(positions, widths, mode="wrap" if boundary == "periodic" else "symmetric").ravel())


def batch_norm_(pair: torch.Tensor, epsilon: float) -> torch.Tensor:
    """z = (y − ν₁,c(y)) / √(μ₂,c(y) + ε), dz = dy / √(μ₂,c(y) + ε); statistics of the signal, over samples and positions.

    With ε = 0 a channel without variance gives z = dz = 0.
    """
    signal, noise = flat(pair)
    signal -= signal.mean(1, keepdim=True)
    scale = (signal.square().mean(1, keepdim=True) + epsilon).rsqrt()
    scale.masked_fill_(torch.isinf(scale), 0.0)
    signal *= scale
    noise *= scale
    return pair


def drop(pair: torch.Tensor, mask: torch.Tensor, dropout: float) -> torch.Tensor:
    """Signal and noise where the mask is 1, divided by the chance of that; zero elsewhere. A new pair."""
    return pair * mask.to(pair.dtype)[:, None] / (1 - dropout)


def activate_(pair: torch.Tensor, activation: Activation, scale: torch.Tensor | None = None) -> torch.Tensor:
    """x = φ(y), dx = φ'(y)·dy, in place.

    With `scale` s (realization,), the factor that was taken out of the signal, x = φ(s y)/s, dx = φ'(s y)·dy.

    Raises
    ------
    RequestError
        The activation has no function of torch.
    """
    signal, noise = pair[:, 0], pair[:, 1]
    if activation.name == "relu":  # torch's kernels in place: half the time of the general way
        torch.ops.aten.threshold_backward.grad_input(noise, signal, 0.0, grad_input=noise)
        signal.relu_()
        return pair
    if activation.torch is None:
        raise RequestError(f"activation '{activation.name}' has no function of torch: it is of use to theory only")
    factor = 1 if scale is None else scale.view(-1, *(1,) * (signal.ndim - 1))
    with torch.enable_grad():
        y = (signal * factor).requires_grad_()
        x = activation.torch(y)
    # φ acts on each element alone, so the product with its Jacobian from either side is φ'(y)·dy.
    noise.copy_(torch.autograd.grad(x, y, noise)[0])
    signal.copy_(x.detach()).div_(factor)
    return pair


def slope(signal: torch.Tensor, activation: Activation, scale: torch.Tensor | None = None) -> torch.Tensor:
    """φ'(s y) of the signal y (realization, sample, *space, channel), s (realization,) as in `activate_`; a new tensor."""
    assert activation.torch is not None
    factor = 1 if scale is None else scale.view(-1, *(1,) * (signal.ndim - 1))
    with torch.enable_grad():
        y = (signal * factor).requires_grad_()
        return torch.autograd.grad(activation.torch(y).sum(), y)[0]


def add_(pair: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """Residual sum, of signal and of noise."""
    return pair.add_(skip)


def rescale_(tensor: torch.Tensor) -> torch.Tensor:
    """Divide each realization by the power of two nearest to its root mean square; returns the exponents.

    `tensor` is the signal or the noise, (realization, sample, *space, channel); exponents (realization,), int. A power
    of two leaves every mantissa as it was, so nothing is rounded. A tensor of zeros stays.
    """
    square = tensor.flatten(1).square().mean(1)
    exponent = torch.where(square > 0, (0.5 * torch.log2(square)).round(), 0.0).int()
    if exponent.device.type != "cpu" or exponent.any():
        tensor.mul_(torch.ldexp(torch.ones_like(square), -exponent).view(-1, *(1,) * (tensor.ndim - 1)))
    return exponent
