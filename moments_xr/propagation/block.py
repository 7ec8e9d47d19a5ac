"""A block of realizations, from recipe to arrays: all that an executor calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from moments_xr import datasets
from moments_xr.activations import ACTIVATIONS
from moments_xr.errors import RequestError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.propagation import networks
from moments_xr.propagation.measure import (
    RANKED,
    Views,
    channel_moments,
    effective_rank,
    pair_correlation,
    pool,
    slope_spread,
)
from moments_xr.propagation.steps import rescale_, slope
from moments_xr.propagation.weights import draw, draw_weights, each_realization, redraws, streams, with_dropout
from moments_xr.quantities import ARCHITECTURES, BRANCH_QUANTITIES, pooled_names
from moments_xr.recipe import Recipe

FAR = 40
"""Signals beyond 2^±40 see φ as φ'(0) y or φ'(±∞) y, to a part in 10¹²."""

Redraw = Callable[[int], networks.Weights]
"""Layer -> what its redraws have, in order of use."""


def resolve_device(device: str) -> torch.device:
    """The device that `auto|cpu|cuda|cuda:N` means here.

    Raises
    ------
    RequestError
        A CUDA device is asked for that is not there.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda" if available else "cpu")
    wanted = torch.device(device)
    if wanted.type == "cuda" and (wanted.index or 0) >= available:
        raise RequestError(f"compute.device: '{device}' is not here: torch sees {available} CUDA devices")
    return wanted


def resolve_precision(precision: str) -> torch.dtype:
    """`auto` is float32: rescaling keeps every tensor near 1, at any depth."""
    return torch.float64 if precision == "float64" else torch.float32


def compute_block(
    recipe: Recipe,
    realizations: Sequence[int],
    dataset: datasets.Dataset | None = None,
    progress: Callable[[int], None] = lambda layer: None,
) -> dict[str, np.ndarray]:
    """Draw and propagate realizations, and measure them.

    Parameters
    ----------
    recipe
        Without a sweep.
    realizations
        Numbers of the random streams: the same number gives the same draw in any block.
    dataset
        Instead of the recipe's.
    progress
        Called with each layer that is finished.

    Returns
    -------
    The cube's data variables as arrays, by name (`cube.schema` has their dimensions).
    """
    network = recipe.network
    device, dtype = resolve_device(recipe.compute.device), resolve_precision(recipe.compute.precision)
    source = dataset or load_dataset(recipe)
    own = streams(recipe.seed, realizations, device)
    samples = each_realization(lambda realization: input_batch(recipe, realization, source), realizations)
    signal = torch.from_numpy(np.stack(samples)).to(device, dtype)
    noise = draw(own, tuple(signal.shape[1:]), 1.0, device).to(dtype)
    dimensions = signal.ndim - 3
    drawn = draw_weights(network, own, signal.shape[-1], dimensions, device, dtype)
    weights = with_dropout(drawn, network, recipe.seed, realizations, device)
    redraw = redraws(network, recipe.seed, realizations, dimensions, device, dtype)
    return propagate_block(recipe, signal, noise, weights, redraw, progress)


def propagate_block(
    recipe: Recipe,
    signal: torch.Tensor,
    noise: torch.Tensor,
    weights: networks.Weights,
    redraw: Redraw,
    progress: Callable[[int], None] = lambda layer: None,
) -> dict[str, np.ndarray]:
    """Propagate given inputs through given weights, and measure.

    `signal` and `noise` are (realization, sample, *space, channel), without a spatial axis when fully connected; the
    signal is standardised and scaled already. `weights` gives what each convolution has in order of use, the embedding first.
    """
    network, kind = recipe.network, ARCHITECTURES[recipe.network.architecture]
    layer_steps, activation = networks.LAYERS[network.architecture], ACTIVATIONS[network.activation]
    recorder = Recorder(recipe, signal)
    # float32 means float32: no TF32 in convolutions on a card, and the same algorithm each time.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        pair = networks.embed(network, torch.stack([signal, noise], 1), weights)
        exponents = np.zeros((2, len(signal)))
        for layer in range(1, network.depth + 1):
            for tensor in (1,) if kind.normed else (0, 1):
                exponents[tensor] += rescale_(pair[:, tensor]).cpu().numpy()
            scaled = scaled_weights(weights, exponents[0])
            scale = None if kind.normed or activation.homogeneous else signal_factor(exponents[0]).to(pair)
            if layer in recipe.layers:
                recorder.scales(layer, exponents)
                if recipe.measure.branches:
                    redrawn, before = scaled_weights(redraw(layer), exponents[0]), _log_pooled(pair)
                    for branch in range(recipe.measure.branches):
                        *_, (_, after) = layer_steps(network, pair, redrawn, scale)
                        recorder.branch(layer, branch, _log_pooled(after) - before)
            for site, state in layer_steps(network, pair, scaled, scale):
                if layer in recipe.layers and site in recipe.sites:
                    recorder.record(layer, site, state)
                if layer in recipe.layers and site == kind.plotted[2] and activation.lines is None:
                    recorder.slopes(layer, slope(state[:, 0], activation, scale))
            pair = state
            progress(layer)
    return recorder.arrays()


def scaled_weights(weights: networks.Weights, exponents: np.ndarray) -> networks.Weights:
    """Biases divided by the factor that was taken out of the signal."""
    for one in weights:
        if one.bias is None:
            yield one
        else:
            yield one._replace(bias=torch.ldexp(one.bias, torch.from_numpy(-exponents[:, None]).to(one.bias)))


def signal_factor(exponents: np.ndarray) -> torch.Tensor:
    """The factor that was taken out of the signal; cut where φ is as good as homogeneous, 2^±FAR."""
    return torch.from_numpy(np.exp2(exponents.clip(-FAR, FAR)))


def _log_pooled(pair: torch.Tensor) -> torch.Tensor:
    return pool(channel_moments(Views(pair), BRANCH_QUANTITIES), BRANCH_QUANTITIES, BRANCH_QUANTITIES).log()


def input_mu2(signal: torch.Tensor) -> torch.Tensor:
    """μ₂(x⁰), the mean over channels of the variance: (realization, position, channel) -> (realization,), float64."""
    return (signal - signal.mean(1, keepdim=True)).square_().mean(1).double().mean(-1)


class Recorder:
    """Collects what is measured on the device, and hands it over as arrays at the end."""

    def __init__(self, recipe: Recipe, signal: torch.Tensor) -> None:
        self.moments, self.pooled = recipe.moments, pooled_names(recipe.moments)
        self.ranked = recipe.measure.effective_rank
        self.keep_channels = recipe.measure.channels == "all"
        self.layer_index = {layer: i for i, layer in enumerate(recipe.layers)}
        self.site_index = {site: i for i, site in enumerate(recipe.sites)}
        shape = (len(signal), len(recipe.layers), len(recipe.sites))
        options: dict[str, Any] = {"device": signal.device}
        self.out: dict[str, torch.Tensor] = {
            "pooled_moments": torch.full((*shape, len(self.pooled)), math.nan, dtype=torch.float64, **options),
            "log_signal_scale": torch.zeros(shape[:2], dtype=torch.float64),
            "log_noise_scale": torch.zeros(shape[:2], dtype=torch.float64),
            "input_mu2_signal": input_mu2(signal.flatten(1, -2)),
        }
        for tensor in ("signal", "noise"):
            self.out[f"reff_{tensor}"] = torch.full(shape, math.nan, **options)
        if self.keep_channels:
            width = recipe.network.width
            self.out["channel_moments"] = torch.full((*shape, len(self.moments), width), math.nan, **options)
        if recipe.measure.branches:
            self.out["branch_log_increment"] = torch.full(
                (*shape[:2], recipe.measure.branches, len(BRANCH_QUANTITIES)), math.nan, **options
            )
        if ACTIVATIONS[recipe.network.activation].lines is None:
            self.out["slope_spread"] = torch.full(shape[:2], math.nan, dtype=torch.float64, **options)
        self.pairs = recipe.measure.pairs
        if self.pairs:
            count = self.pairs * (self.pairs - 1) // 2
            self.out["pair_correlation"] = torch.full((*shape, count), math.nan, **options)

    def record(self, layer: int, site: str, pair: torch.Tensor) -> None:
        where = (slice(None), self.layer_index[layer], self.site_index[site])
        views = Views(pair)
        channels = channel_moments(views, self.moments)
        self.out["pooled_moments"][where] = pool(channels, self.moments, self.pooled)
        if self.keep_channels:
            self.out["channel_moments"][where] = channels.float()
        for tensor in self.ranked:
            self.out[f"reff_{tensor}"][where] = effective_rank(RANKED[tensor](views)).float()
        if self.pairs:
            self.out["pair_correlation"][where] = pair_correlation(pair[:, 0, : self.pairs]).float()

    def slopes(self, layer: int, slope: torch.Tensor) -> None:
        self.out["slope_spread"][:, self.layer_index[layer]] = slope_spread(slope)

    def scales(self, layer: int, exponents: np.ndarray) -> None:
        for name, exponent in zip(("log_signal_scale", "log_noise_scale"), exponents, strict=True):
            self.out[name][:, self.layer_index[layer]] = torch.from_numpy(exponent * math.log(2))

    def branch(self, layer: int, branch: int, log_increments: torch.Tensor) -> None:
        self.out["branch_log_increment"][:, self.layer_index[layer], branch] = log_increments.float()

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: values.cpu().numpy() for name, values in self.out.items()}
