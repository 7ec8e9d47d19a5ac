"""Singular values of the Jacobians of drawn nets: the identity goes through the derivative of every step (THEORY 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from moments_xr import datasets
from moments_xr.activations import ACTIVATIONS
from moments_xr.errors import RequestError
from moments_xr.inputs import input_batch
from moments_xr.propagation import networks
from moments_xr.propagation.block import resolve_device, scaled_weights, signal_factor
from moments_xr.propagation.steps import rescale_
from moments_xr.propagation.weights import draw, draw_weights, streams, with_dropout
from moments_xr.quantities import ARCHITECTURES
from moments_xr.recipe import Recipe

LARGEST = 4096
"""Most rows that a Jacobian may have: a few hundred megabytes, and minutes."""


def log_singular_values(
    recipe: Recipe, dataset: datasets.Dataset, realization: int, layers: Sequence[int]
) -> np.ndarray:
    """Log singular values of ∂x^l/∂x⁰ at one input, largest first: (layer, index), float64.

    x⁰ is what enters layer 1, x^l the output of layer l; input and weights are those that `run` draws for this realization, the
    input being the first of its batch. Computed in float64; what is zero, or below rounding beside the largest, is −∞.

    Raises
    ------
    RequestError
        The net has batch norm or dropout, or the Jacobian would be too large.
    """
    network = recipe.network
    check(recipe)
    device, dtype = resolve_device(recipe.compute.device), torch.float64
    own = streams(recipe.seed, [realization], device)
    signal = torch.from_numpy(input_batch(recipe, realization, dataset))
    draw(own, tuple(signal.shape), 1.0, device)  # the noise of `run`, before whose weights it is drawn
    drawn = draw_weights(network, own, signal.shape[-1], signal.ndim - 2, device, dtype)
    weights = with_dropout(drawn, network, recipe.seed, [realization], device)
    layer_steps, homogeneous = networks.LAYERS[network.architecture], ACTIVATIONS[network.activation].homogeneous
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        first = signal[:1].to(device, dtype)
        start = networks.embed(network, torch.stack([first, first])[None], weights)[:, 0]
        size = start.numel()
        if size > LARGEST:
            raise RequestError(
                f"network.width: {network.width} channels on {size // network.width} positions make a Jacobian of {size} rows;"
                f" {LARGEST} at most"
            )
        identity = torch.eye(size, dtype=dtype, device=device).view(1, size, *start.shape[2:])
        pair = torch.stack([start.expand_as(identity), identity], 1)
        exponents, found = np.zeros((2, 1)), []
        for layer in range(1, max(layers) + 1):
            for tensor in (0, 1):
                exponents[tensor] += rescale_(pair[:, tensor]).cpu().numpy()
            scale = None if homogeneous else signal_factor(exponents[0]).to(pair)
            *_, (_, pair) = layer_steps(network, pair, scaled_weights(weights, exponents[0]), scale)
            if layer in layers:
                values = torch.linalg.svdvals(pair[0, 1].flatten(1)).cpu().numpy()
                found.append(_log(values) + exponents[1, 0] * math.log(2))
    return np.stack(found)


def check(recipe: Recipe) -> None:
    """Whether a sample of this net has a Jacobian of its own.

    Raises
    ------
    RequestError
        It hasn't: the message says why.
    """
    network = recipe.network
    if ARCHITECTURES[network.architecture].normed:
        alone = ", ".join(name for name, row in ARCHITECTURES.items() if not row.normed)
        raise RequestError(
            f"network.architecture: '{network.architecture}' has batch norm, by which a sample depends on all others of its batch"
            f" and has no Jacobian of its own; needs one of {alone}"
        )
    if network.dropout:
        raise RequestError(f"network.dropout: {network.dropout:g} gives each mask a Jacobian of its own; needs 0")
    if recipe.sweep is not None:
        raise RequestError("sweep: singular values are of one net; give one of recipe.nodes().values()")


def _log(values: np.ndarray) -> np.ndarray:
    """Log of singular values, largest first; −∞ below rounding."""
    floor = values[0] * len(values) * np.finfo("f8").eps
    with np.errstate(divide="ignore"):
        return np.log(np.where(values > floor, values, 0.0))
