"""Architectures: each is a layer, a stream of (site, pair) in the order of the flow (THEORY 1).

A layer takes the pair that enters it and leaves that pair unchanged, so that it can be drawn again from the same input;
what it yields may be changed by its later steps: measure it before going on. `weights` gives what each convolution has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch

from moments_xr.activations import ACTIVATIONS
from moments_xr.propagation.steps import activate_, add_, batch_norm_, convolve, drop
from moments_xr.propagation.weights import Convolution

if TYPE_CHECKING:
    from moments_xr.recipe import Network

Weights = Iterator[Convolution]
Scale = torch.Tensor | None
Sites = Iterator[tuple[str, torch.Tensor]]


class Layer(Protocol):
    """What enters a layer -> the pair at each site. `scale` (realization,) is the factor that was taken out of the signal."""

    def __call__(self, network: Network, pair: torch.Tensor, weights: Weights, scale: Scale = None) -> Sites: ...


def convolution(network: Network, pair: torch.Tensor, weights: Weights) -> torch.Tensor:
    """y = W ∗ x + b, of what dropout leaves of x; a new pair."""
    kernel, bias, mask = next(weights)
    if mask is not None:
        pair = drop(pair, mask(tuple(pair.shape[2:])), network.dropout)
    return convolve(pair, kernel, bias, network.boundary)


def vanilla(network: Network, pair: torch.Tensor, weights: Weights, scale: Scale = None) -> Sites:
    """y = W ∗ x + b; x = φ(y)."""
    yield "input", pair
    pair = convolution(network, pair, weights)
    yield "conv", pair
    yield "act", activate_(pair, ACTIVATIONS[network.activation], scale)


def bn_ff(network: Network, pair: torch.Tensor, weights: Weights, scale: Scale = None) -> Sites:
    """y = W ∗ x + b; z = BN(y); x = φ(z)."""
    yield "input", pair
    pair = convolution(network, pair, weights)
    yield "conv", pair
    yield "norm", batch_norm_(pair, network.epsilon)
    yield "act", activate_(pair, ACTIVATIONS[network.activation])


def bn_res(network: Network, pair: torch.Tensor, weights: Weights, scale: Scale = None) -> Sites:
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
        branch = convolution(network, branch, weights)
        if h == 0:
            yield "conv", branch
    yield "sum", add_(branch, pair)


def res(network: Network, pair: torch.Tensor, weights: Weights, scale: Scale = None) -> Sites:
    """y = W ∗ x + b; then x + V ∗ φ(y) + a (Yang & Schoenholz 2017)."""
    yield "input", pair
    branch = convolution(network, pair, weights)
    yield "conv", branch
    yield "act", activate_(branch, ACTIVATIONS[network.activation], scale)
    yield "sum", add_(convolution(network, branch, weights), pair)


LAYERS: dict[str, Layer] = {"vanilla": vanilla, "bn_ff": bn_ff, "bn_res": bn_res, "res": res}


def embed(network: Network, pair: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The input embedding: one convolution without activation, of stride 2 when the kernel is larger than 1."""
    kernel, bias, _ = next(weights)
    return convolve(pair, kernel, bias, network.boundary, stride=1 if network.kernel == 1 else 2)
