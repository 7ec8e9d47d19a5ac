"""Random streams, and the laws of the weights.

One stream a realization, `SeedSequence(seed, spawn_key=(r,))`, draws the input sample, the noise and the weights in that
order; it depends on nothing else (block, order, number of workers), but may depend on the type of device. Redraws of a
layer have streams of their own, so that measuring never changes the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from moments_xr.recipe import Network

T = TypeVar("T")

STATE_WORDS = slice(3, 3 + 624)
"""Where the 624 words of the Mersenne Twister stand in the state of torch's CPU generator, as 64-bit words."""


class Stream:
    """The random numbers of one realization (or of its redraws of one layer)."""

    def __init__(self, seed: int, key: tuple[int, ...], device: torch.device) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=key)
        self.sampler = np.random.Generator(np.random.PCG64DXSM(sequence))
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


def kernel_shape(network: Network, fan: int, dimensions: int) -> tuple[int, ...]:
    """(output, *kernel, input): the layout in which kernels are drawn and kept."""
    return (network.width, *(network.kernel,) * dimensions, fan)


def convolution(
    network: Network, streams: Sequence[Stream], dimensions: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Kernel N(0, variance / fan_in) and bias N(0, bias_variance) (None if 0) of one convolution (THEORY 1)."""
    shape = kernel_shape(network, network.width, dimensions)
    kernel = draw(streams, shape, math.sqrt(network.weights.variance / math.prod(shape[1:])), device).to(dtype)
    if network.bias_variance == 0:
        return kernel, None
    return kernel, draw(streams, shape[:1], math.sqrt(network.bias_variance), device).to(dtype)


def redraws(
    network: Network, seed: int, realizations: Sequence[int], dimensions: int, device: torch.device, dtype: torch.dtype
) -> Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor | None]]]:
    """Layer -> kernels and biases of its redraws in order of use, from streams of their own."""

    def redraw(layer: int) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        own = streams(seed, realizations, device, layer)
        while True:
            yield convolution(network, own, dimensions, device, dtype)

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
    shape = kernel_shape(network, channels, dimensions)
    yield draw(streams, shape, math.sqrt(1 / math.prod(shape[1:])), device).to(dtype), None
    while True:
        yield convolution(network, streams, dimensions, device, dtype)
