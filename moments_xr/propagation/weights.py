"""Random streams, and the laws of the weights.

One stream a realization, `SeedSequence(seed, spawn_key=(r,))`, draws the input samples (`moments_xr.inputs`), the noise and
the weights in that order; it depends on nothing else (block, order, number of workers), but may depend on the type of device. Redraws of a
layer have streams of their own, so that measuring never changes the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from moments_xr.recipe import Network

T = TypeVar("T")

MASKS = 0
"""Key of the streams of dropout; those of redraws have the layer's number, from 1."""

STATE_WORDS = slice(3, 3 + 624)
"""Where the 624 words of the Mersenne Twister stand in the state of torch's CPU generator, as 64-bit words."""


class Stream:
    """The random numbers of one realization (or of its redraws of one layer)."""

    def __init__(self, seed: int, key: tuple[int, ...], device: torch.device) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=key)
        self.normals = torch.Generator(device)
        if device.type == "cpu":
            # manual_seed uses 32 bits of the seed, too few for a million streams: fill the whole state instead.
            self.normals.manual_seed(0)
            state = self.normals.get_state()
            words = state.numpy().view(np.uint64)
            words[STATE_WORDS] = sequence.spawn(1)[0].generate_state(624, np.uint32)
            self.normals.set_state(state)
        else:
            self.normals.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def normal_(self, out: torch.Tensor, std: float = 1.0) -> torch.Tensor:
        """Fill a contiguous float32 tensor with independent N(0, std²)."""
        return out.normal_(0.0, std, generator=self.normals)


def streams(seed: int, realizations: Sequence[int], device: torch.device, *key: int) -> list[Stream]:
    """One stream a realization; further key numbers give other streams of the same realization."""
    return [Stream(seed, (int(r), *key), device) for r in realizations]


def each_realization(function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
    """Call a function for each realization of a block, on as many threads as torch has (torch and numpy free the GIL)."""
    return list(_pool().map(function, *arguments))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="normals")


def draw(streams: Sequence[Stream], shape: tuple[int, ...], std: float, device: torch.device) -> torch.Tensor:
    """Independent N(0, std²), one stream a realization: (realization, *shape), float32."""
    out = torch.empty((len(streams), *shape), device=device)
    each_realization(lambda stream, part: stream.normal_(part, std), streams, out)
    return out


class Convolution(NamedTuple):
    """What one convolution of a block has: its kernel, its bias, and what it drops of its input."""

    kernel: torch.Tensor
    """(realization, output, *kernel, input)"""
    bias: torch.Tensor | None = None
    """(realization, output)"""
    mask: Callable[[tuple[int, ...]], torch.Tensor] | None = None
    """Shape of the input of one realization -> (realization, *shape), 1 where it is kept."""


def kernel_shape(network: Network, fan: int, dimensions: int) -> tuple[int, ...]:
    """(output, *kernel, input): the layout in which kernels are drawn and kept."""
    return (network.width, *(network.kernel,) * dimensions, fan)


def gaussian(streams: Sequence[Stream], shape: tuple[int, ...], variance: float, device: torch.device) -> torch.Tensor:
    """Kernel of independent N(0, variance / fan_in)."""
    return draw(streams, shape, math.sqrt(variance / math.prod(shape[1:])), device)


def orthogonal(
    streams: Sequence[Stream], shape: tuple[int, ...], variance: float, device: torch.device
) -> torch.Tensor:
    """Kernel whose rows, over taps and inputs, are orthogonal, of squared length `variance`; uniform (Haar)."""
    normals = draw(streams, (math.prod(shape[1:]), shape[0]), 1.0, device)
    q, r = torch.linalg.qr(normals.double())
    # Without the signs of R's diagonal the law would not be uniform.
    q *= r.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    return (math.sqrt(variance) * q.mT).reshape(len(streams), *shape)


def delta_orthogonal(
    streams: Sequence[Stream], shape: tuple[int, ...], variance: float, device: torch.device
) -> torch.Tensor:
    """Kernel that is orthogonal at its centre tap and zero elsewhere (Xiao et al. 2018)."""
    centre = orthogonal(streams, (shape[0], shape[-1]), variance, device)
    kernel = centre.new_zeros((len(streams), *shape))
    tap: tuple[Any, ...] = (slice(None), slice(None), *((extent - 1) // 2 for extent in shape[1:-1]))
    kernel[tap] = centre
    return kernel


def mirrored(streams: Sequence[Stream], shape: tuple[int, ...], variance: float, device: torch.device) -> torch.Tensor:
    """Kernel of blocks W, −W above −W, W of independent N(0, variance / fan_in) (Balduzzi et al. 2017)."""
    half = draw(
        streams, (shape[0] // 2, *shape[1:-1], shape[-1] // 2), math.sqrt(variance / math.prod(shape[1:])), device
    )
    row = torch.cat([half, -half], -1)
    return torch.cat([row, -row], 1)


LAWS: dict[str, Callable[[Sequence[Stream], tuple[int, ...], float, torch.device], torch.Tensor]] = {
    "gaussian": gaussian,
    "orthogonal": orthogonal,
    "delta_orthogonal": delta_orthogonal,
    "mirrored": mirrored,
}
"""Streams, shape (output, *kernel, input), variance, device -> kernels (realization, *shape)."""


def masks(
    streams: Sequence[Stream], network: Network, device: torch.device
) -> Callable[[tuple[int, ...]], torch.Tensor] | None:
    """Draws what dropout keeps, for each sample, position and channel alone; None without dropout."""
    if network.dropout == 0:
        return None

    def mask(shape: tuple[int, ...]) -> torch.Tensor:
        out = torch.empty((len(streams), *shape), device=device)
        each_realization(
            lambda stream, part: part.bernoulli_(1 - network.dropout, generator=stream.normals), streams, out
        )
        return out

    return mask


def convolution(
    network: Network, streams: Sequence[Stream], dimensions: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Kernel of the recipe's law and bias N(0, bias_variance) (None if 0) of one convolution (THEORY 1 and 8)."""
    shape = kernel_shape(network, network.width, dimensions)
    kernel = LAWS[network.weights.law](streams, shape, network.weights.variance, device).to(dtype)
    if network.bias_variance == 0:
        return kernel, None
    bias = draw(streams, shape[:1], math.sqrt(network.bias_variance), device).to(dtype)
    if network.weights.law == "mirrored":
        bias[:, shape[0] // 2 :] = -bias[:, : shape[0] // 2]
    return kernel, bias


def redraws(
    network: Network, seed: int, realizations: Sequence[int], dimensions: int, device: torch.device, dtype: torch.dtype
) -> Callable[[int], Iterator[Convolution]]:
    """Layer -> what its redraws have, in order of use, from streams of their own."""

    def redraw(layer: int) -> Iterator[Convolution]:
        own = streams(seed, realizations, device, layer)
        while True:
            yield Convolution(*convolution(network, own, dimensions, device, dtype), masks(own, network, device))

    return redraw


def draw_weights(
    network: Network,
    streams: Sequence[Stream],
    channels: int,
    dimensions: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Kernels and biases in order of use, drawn when asked for: the embedding, N(0, 1/fan_in), then every convolution."""
    yield gaussian(streams, kernel_shape(network, channels, dimensions), 1.0, device).to(dtype), None
    while True:
        yield convolution(network, streams, dimensions, device, dtype)


def with_dropout(
    weights: Iterator[tuple[torch.Tensor, torch.Tensor | None]],
    network: Network,
    seed: int,
    realizations: Sequence[int],
    device: torch.device,
) -> Iterator[Convolution]:
    """Kernels and biases with the masks of dropout, whose streams are their own: dropout changes no weight."""
    mask = masks(streams(seed, realizations, device, MASKS), network, device)
    yield Convolution(*next(weights))
    for kernel, bias in weights:
        yield Convolution(kernel, bias, mask)
