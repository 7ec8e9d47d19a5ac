"""Architectures: each is a layer, a stream of (site, pair) in the order of the flow (THEORY 1).

A layer takes the pair that enters it and leaves that pair unchanged, so that it can be drawn again from the same input;
what it yields may be changed by its later steps: measure it before going on. `weights` gives a kernel and a bias for
each convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from moments_xr.activations import ACTIVATIONS
from moments_xr.propagation.steps import activate_, add_, batch_norm_, convolve

if TYPE_CHECKING:
    from moments_xr.recipe import Network

Weights = Iterator[tuple[torch.Tensor, torch.Tensor | None]]
Layer = Callable[["Network", torch.Tensor, Weights], Iterator[tuple[str, torch.Tensor]]]


def vanilla(network: Network, pair: torch.Tensor, weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """y = W ∗ x + b; x = φ(y)."""
    yield "input", pair
    pair = convolve(pair, *next(weights), network.boundary)
    yield "conv", pair
    yield "act", activate_(pair, ACTIVATIONS[network.activation])


def bn_ff(network: Network, pair: torch.Tensor, weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """y = W ∗ x + b; z = BN(y); x = φ(z)."""
    yield "input", pair
    pair = convolve(pair, *next(weights), network.boundary)
    yield "conv", pair
    yield "norm", batch_norm_(pair, network.epsilon)
    yield "act", activate_(pair, ACTIVATIONS[network.activation])


def bn_res(network: Network, pair: torch.Tensor, weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Pre-activation unit: H times z = BN(y), x = φ(z), y = W ∗ x + b; then the sum. Sites inside are those of h = 1."""
    yield "input", pair
    branch = pair.clone()
    for h in range(network.unit_depth or 0):
        batch_norm_(branch, network.epsilon)
        if h == 0:
            yield "norm", branch
        activate_(branch, ACTIVATIONS[network.activation])
        if h == 0:
            yield "act", branch
        branch = convolve(branch, *next(weights), network.boundary)
        if h == 0:
            yield "conv", branch
    yield "sum", add_(branch, pair)


LAYERS: dict[str, Layer] = {"vanilla": vanilla, "bn_ff": bn_ff, "bn_res": bn_res}


def embed(network: Network, pair: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The input embedding: one convolution without activation, of stride 2 when the kernel is larger than 1."""
    return convolve(pair, *next(weights), network.boundary, stride=1 if network.kernel == 1 else 2)
