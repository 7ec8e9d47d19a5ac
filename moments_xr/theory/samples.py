"""A batch of inputs and its noise through fully-connected nets of infinite width: χ beside the q- and c-maps (THEORY 8).

Second moments S_a and squared distances D_ab of the samples are carried from layer to layer, not products: where all
samples come to look alike, nothing cancels. Of a white noise dx with N₀ features a share 1/N₀ lies along its x and is
carried apart, since φ takes it otherwise than the rest: y and dy are then correlated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian_kernels import Array, kernels
from moments_xr.theory.hermite import distance
from moments_xr.theory.maps import check

FAR = 30.0
"""Activations see variances between exp(±30): beyond, E φ²/q doesn't change any more."""

SMALLEST = np.exp(-2 * FAR)
"""Variance of a sample that is zero, where a ratio to it is meant."""

Distance = Callable[[Array, Array], Array]
"""q (sample,) and 1 − c (sample, sample) -> E (φ(u_a) − φ(u_b))² (sample, sample)."""


class State(NamedTuple):
    """A batch at one site: mean products over channels, of signals divided by √exp(log_scale), of noise likewise."""

    second: Array
    """S_a = ⟨x_a, x_a⟩ (sample,)"""
    apart: Array
    """D_ab = ⟨x_a − x_b, x_a − x_b⟩ (sample, sample)"""
    across: Array
    """⟨dx, dx⟩ of a noise of unit variance that was orthogonal to its input (sample,)"""
    along: Array
    """⟨dx, dx⟩ of a noise of unit variance that was parallel to its input (sample,)"""
    tilt: Array
    """⟨x, dx⟩ of the latter (sample,)"""

    def added(self, other: State) -> State:
        """Of the sum of two signals that are independent given what is before, as a skip and its branch."""
        return State(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def gap(self) -> Array:
        """1 − c_ab from second moments and squared distances, without cancellation: (sample, sample)."""
        root = np.sqrt(self.second)
        both = 2 * root[:, None] * root
        gap = np.divide(self.apart - np.square(root[:, None] - root), both, out=np.zeros_like(both), where=both > 0)
        return np.clip(gap, 0, 2)


class Scaled(NamedTuple):
    """A state with the logarithms of what its squares were divided by."""

    state: State
    log_scale: float
    log_noise_scale: float


class Samples(NamedTuple):
    """Of each layer, at one site: arrays (layer,), and 1 − c of each pair of samples a < b (layer, pair)."""

    log_nu2: Array
    log_mu2: Array
    log_noise: Array
    """log of the expectation of μ₂(dx) over the noise that is drawn."""
    noise_variance: Array
    """Variance of μ₂(dx) over the noise that is drawn, divided by the square of its mean."""
    gap: Array

    @property
    def mean_log_noise(self) -> Array:
        """Mean of log μ₂(dx) over the noise that is drawn: μ₂(dx) is nearly a χ² value of its variance (Satterthwaite)."""
        return self.log_noise + mean_log(self.noise_variance)


def mean_log(variance: Array) -> Array:
    """E log of a χ² value of mean 1 and this variance, 2 over its degrees of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.samples import mean_log
    >>> mean_log(np.array([2.0, 1e-3])).round(6).tolist()  # −γ − log 2, and about minus half the variance
    [-1.270363, -0.0005]
    """
    return np.asarray(special.digamma(1 / variance) + np.log(variance))


def propagate_samples(
    of: str | Activation | Function,
    signal: Array,
    depth: int,
    weight_variance: float,
    bias_variance: float = 0.0,
    keep: float = 1.0,
    residual: bool = False,
) -> dict[str, Samples]:
    """What a batch and its noise become in layers 1 … depth, before and after the activation, to any depth.

    ν₂(x^l) = mean_a E φ(u_a)², μ₂(x^l) = ½ mean_ab E (φ(u_a) − φ(u_b))² over all pairs (a = b included), and
    μ₂(dx^l) of a white noise of unit variance, (1 − 1/N₀) mean_a ∏_k (σ_w²/ρ) E φ'(u_a^k)² and 1/N₀ of what a noise
    parallel to its input becomes, for N₀ features (THEORY 8).

    Parameters
    ----------
    of
        Name, row or function φ.
    signal
        x⁰ (sample, feature), as it enters the embedding.
    depth
        Layers after the embedding.
    weight_variance, bias_variance, keep
        σ_w², σ_b² and the keep rate ρ of dropout, whose masks for two samples are independent.
    residual
        x^l = x^{l−1} + V φ(W x^{l−1} + b) + a, both of these laws, instead of φ(W x^{l−1} + b).

    Returns
    -------
    dict
        Site -> Samples: `conv`, `act` and, for residual nets, `sum`.

    Raises
    ------
    RequestError
        A variance is negative, `keep` isn't in (0, 1], or the depth or the signal is not what it should be.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.samples import propagate_samples
    >>> x = np.random.default_rng(0).normal(size=(8, 100))
    >>> layers = propagate_samples("relu", x, depth=4, weight_variance=2)
    >>> bool(np.allclose(layers["act"].log_noise, 0))
    True
    """
    features = np.shape(signal)[-1] if np.ndim(signal) else 0
    layers = each_layer(of, signal, depth, weight_variance, bias_variance, keep, residual)
    return gathered([measured(sites, features) for sites in layers])


def each_layer(
    of: str | Activation | Function,
    signal: Array,
    depth: int,
    weight_variance: float,
    bias_variance: float = 0.0,
    keep: float = 1.0,
    residual: bool = False,
) -> Iterator[dict[str, Scaled]]:
    """The state of a batch at each site of layers 1 … depth, one layer after the other; arguments of `propagate_samples`."""
    row = activation(of)
    check(weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    if depth < 1 or np.ndim(signal) != 2 or not np.isfinite(signal).all():
        raise RequestError(f"depth {depth} needs to be at least 1, and signal (sample, feature) and finite")
    activate, state = _activation(row), _embedded(np.asarray(signal, dtype="f8"))
    features = np.shape(signal)[1]
    log_scale = log_noise_scale = 0.0

    def affine(state: State) -> State:
        gain = weight_variance / keep
        bias = bias_variance * np.exp(-log_scale) if bias_variance else 0.0
        dropped = (1 / keep - 1) * (state.second[:, None] + state.second) * (1 - np.eye(len(state.second)))
        return State(
            gain * state.second + bias, weight_variance * (state.apart + dropped), *(gain * n for n in state[2:])
        )

    for _ in range(depth):
        size, noise_size = float(state.second.mean()), float(noise(state, features).mean())
        log_scale, log_noise_scale = log_scale + np.log(size), log_noise_scale + np.log(noise_size)
        entered = _divided(state, size, noise_size)
        conv = affine(entered)
        sites = {"conv": conv, "act": activate(conv, log_scale)}
        if residual:
            sites["sum"] = affine(sites["act"]).added(entered)
        state = sites["sum" if residual else "act"]
        yield {site: Scaled(each, log_scale, log_noise_scale) for site, each in sites.items()}


def noise(state: State, features: int) -> Array:
    """Expectation of ⟨dx, dx⟩ over a white noise of so many features: (sample,)."""
    return ((features - 1) * state.across + state.along) / features


def measured(sites: Mapping[str, Scaled], features: int) -> dict[str, tuple[Array, ...]]:
    """What `Samples` holds of one layer, of so many input features, by site."""
    return {site: _measured(*scaled, features) for site, scaled in sites.items()}


def gathered(layers: Sequence[Mapping[str, tuple[Array, ...]]]) -> dict[str, Samples]:
    """What was `measured` of each layer, as `Samples` by site."""
    return {site: Samples(*map(np.array, zip(*(one[site] for one in layers), strict=True))) for site in layers[0]}


def _measured(state: State, log_scale: float, log_noise_scale: float, features: int) -> tuple[Array, ...]:
    drawn = noise(state, features)
    # Of each sample, features − 1 squares of normal values times `across`, and one times `along`: variances add up.
    variance = 2 * ((features - 1) * np.square(state.across) + np.square(state.along)).sum() / features**2
    with np.errstate(divide="ignore"):
        return (
            np.log(state.second.mean()) + log_scale,
            np.log(state.apart.mean() / 2) + log_scale,
            np.log(drawn.mean()) + log_noise_scale,
            variance / np.square(drawn.sum()),
            state.gap[np.triu_indices(len(state.second), 1)],
        )


def _embedded(x: Array) -> State:
    second, ones = np.square(x).mean(1), np.ones(len(x))
    return State(second, np.stack([np.square(x - one).mean(1) for one in x]), ones, ones, np.sqrt(second))


def _divided(state: State, size: float, noise_size: float) -> State:
    """The state of signals divided by √size and noise by √noise_size."""
    second, apart, across, along, tilt = state
    return State(
        second / size, apart / size, across / noise_size, along / noise_size, tilt / np.sqrt(size * noise_size)
    )


def _activation(row: Activation) -> Callable[[State, float], State]:
    """What φ makes of a state whose signal was divided by √exp(log_scale)."""
    kernel, apart_after = kernels(row), _distance(row)

    def activate(state: State, log_scale: float) -> State:
        factor = _factor(log_scale)
        q = state.second * factor
        seen = np.maximum(q, SMALLEST)
        slope, radial = kernel.slope_square(seen), kernel.radial_slope_square(seen)
        # dy = (κ/q) y + what is independent of y, for κ = ⟨y, dy⟩; the first has the share κ²/q of ⟨dy, dy⟩
        share = np.divide(np.square(state.tilt), state.second, out=np.zeros_like(q), where=state.second > 0)
        return State(
            kernel.square(q) / factor,
            apart_after(q, state.gap) / factor,
            state.across * slope,
            state.along * slope + share * (radial - slope),
            state.tilt * kernel.square_derivative(seen),
        )

    return activate


def seen_variance(scaled: Scaled) -> Array:
    """Variances that the activation sees (sample,), cut where it is as good as homogeneous."""
    return np.maximum(scaled.state.second * _factor(scaled.log_scale), SMALLEST)


def _factor(log_scale: float) -> float:
    return float(np.exp(np.clip(log_scale, -FAR, FAR)))


def _distance(row: Activation) -> Distance:
    """E (φ(u_a) − φ(u_b))² of all pairs: in closed form if φ is homogeneous, else by its series."""
    kernel = kernels(row)
    if row.homogeneous:
        return lambda q, gap: kernel.difference(q[:, None], q, 2 * np.arcsin(np.sqrt(gap / 2)))
    return lambda q, gap: distance(row, kernel, q, gap)
