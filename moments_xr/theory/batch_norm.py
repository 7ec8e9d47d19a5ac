"""How batch norm makes noise explode in wide feed-forward nets (Yang et al. 2019, arXiv:1902.08129; THEORY 8).

A layer is y = W x, z = BN(y), x' = φ(g z + β). At the fixed point where all samples of a batch look alike to each other, z of a
batch of B is uniform on the sphere of radius √B in the space of vectors of mean zero, of n = B − 1 dimensions, and its
length before normalisation is independent of it. So squared noise over signal variance grows in each layer by

    δχ² = B/(B − 3) · E[g² φ'(g z_a + β)²] / ( E φ(g z_a + β)² − E φ(g z_a + β) φ(g z_b + β) )        a ≠ b in the batch,

whatever σ_w² and σ_b² are; B/(B − 3) is what dividing by the standard deviation of B − 1 free values adds (the noise is not
differentiated through it, THEORY 1). As B → ∞, z is Gaussian and δχ² = E[(dφ/dz)²]/Var φ: at least 1 (Poincaré's inequality),
and 1 for a straight line alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy import integrate

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian import expectation
from moments_xr.theory.gaussian_kernels import kernels

SMALLEST_BATCH = 4
"""With 3 samples or fewer the mean of 1/μ₂(y) is infinite."""

RADII, ANGLES = 200, 2000
"""Nodes of the integral over pairs of a finite batch; with kinks it is good to about 1e-6."""


def explosion_rate(
    of: str | Activation | Function, batch: float = np.inf, gain: float = 1.0, shift: float = 0.0
) -> float:
    """δχ² per layer: by what factor squared noise grows over the signal's variance, in a wide batch-normalised net.

    Sensitivity χ grows by its root. It is the growth of squared gradients, too. Towards the linear regime it falls to 1: a
    shift β ≫ g with ReLU (all channels pass), a gain g ≪ 1 with tanh.

    Parameters
    ----------
    of
        φ.
    batch
        Number B of samples and positions that statistics are taken over, each independent; ∞ for many.
    gain, shift
        g and β of batch norm, the same for all channels.

    Returns
    -------
    float
        Without unit; 1 is no explosion.

    Raises
    ------
    RequestError
        The batch is smaller than 4, where the mean is infinite; or φ is constant at this gain and shift.

    Notes
    -----
    For φ(a y) = a φ(y), a > 0, without shift: δχ² = B/((B − 3)(1 − J(−1/(B − 1)))), J the arc-cosine kernel with J(1) = 1; ReLU
    at B = ∞: π/(π − 1).

    Examples
    --------
    >>> from moments_xr.theory import explosion_rate
    >>> [round(explosion_rate("relu", batch), 4) for batch in (32, 128, float("inf"))]
    [1.5817, 1.4935, 1.4669]
    >>> round(explosion_rate("relu", shift=3), 4), round(explosion_rate("tanh", gain=0.1), 4)
    (1.0011, 1.0001)
    """
    row = activation(of)
    if batch < SMALLEST_BATCH:
        raise RequestError(f"batch: {batch:g} samples; with fewer than {SMALLEST_BATCH} the growth has no finite mean")
    if gain == 0:
        raise RequestError("gain: 0 leaves nothing of the signal")
    if np.isinf(batch):
        return _many(row, gain, shift)
    if row.homogeneous and shift == 0:
        one, angle = np.array(1.0), np.arccos(-1 / (batch - 1))
        kernel = kernels(row)
        similarity = float(kernel.product(one, one, np.array(angle)) / kernel.square(one))
        return batch / ((batch - 3) * (1 - similarity))
    return _few(row, batch, gain, shift)


def explosion_depth(
    of: str | Activation | Function,
    chi: float = 1e3,
    batch: float = np.inf,
    gain: float = 1.0,
    shift: float = 0.0,
) -> float:
    """Number of layers after which the sensitivity χ reaches a value: log χ² over the log of `explosion_rate`.

    Examples
    --------
    >>> from moments_xr.theory import explosion_depth
    >>> round(explosion_depth("relu", 1000), 1), round(explosion_depth("relu", 1000, shift=2), 0)
    (36.1, 785.0)
    """
    log_rate = np.log(explosion_rate(of, batch, gain, shift))
    return float(2 * np.log(chi) / log_rate) if log_rate > 1e-12 else np.inf


def _many(row: Activation, gain: float, shift: float) -> float:
    """E[(dφ/dz)²]/Var φ for z ~ N(0, 1)."""
    kinks = [(kink - shift) / gain for kink in row.kinks]
    mean = expectation(lambda z: row.phi(gain * z + shift), 1.0, kinks).value
    variance = expectation(lambda z: (row.phi(gain * z + shift) - mean) ** 2, 1.0, kinks).value
    slope = expectation(lambda z: (gain * row.derivative(gain * z + shift)) ** 2, 1.0, kinks).value
    return _ratio(row, float(slope), float(variance))


def _few(row: Activation, batch: float, gain: float, shift: float) -> float:
    """The same on the sphere: (z_a, z_b) = √n r (cos t, cos(t + α)), cos α = −1/n, the density of r being ∝ r (1 − r²)^{(n−4)/2}."""
    n = batch - 1
    node, weight = np.polynomial.legendre.leggauss(RADII)
    polar = min(np.pi / 2, 9 / np.sqrt(n)) * (1 + node) / 2  # r = sin(polar)
    weight = weight * np.sin(polar) * np.cos(polar) ** (n - 3)
    weight /= weight.sum()
    t = (np.arange(ANGLES) + 0.5) * 2 * np.pi / ANGLES
    radius = np.sqrt(n) * np.sin(polar)[:, None]
    y_a, y_b = (gain * radius * np.cos(t + turn) + shift for turn in (0.0, np.arccos(-1 / n)))
    apart = weight @ ((row.phi(y_a) - row.phi(y_b)) ** 2).mean(-1) / 2
    return batch / (batch - 3) * _ratio(row, _slope(row, n, gain, shift), float(apart))


def _slope(row: Activation, n: float, gain: float, shift: float) -> float:
    """E (dφ/dz)² on the sphere, where z_a has a density ∝ (1 − z²/n)^{(n−3)/2}."""
    reach = min(np.sqrt(n), 12.0)
    kinks = [kink for kink in ((kink - shift) / gain for kink in row.kinks) if abs(kink) < reach]
    ends = np.unique([-reach, *kinks, 0.0, reach])

    def density(z: float) -> float:
        return (1 - z * z / n) ** ((n - 3) / 2)

    def slope(z: float) -> float:
        return (gain * float(row.derivative(np.array(gain * z + shift)))) ** 2 * density(z)

    def total(function: Callable[[float], float]) -> float:
        return sum(integrate.quad(function, *panel, limit=200)[0] for panel in pairwise(ends))

    return total(slope) / total(density)


def _ratio(row: Activation, slope: float, variance: float) -> float:
    if not (variance > 0 and slope > 0):
        raise RequestError(f"shift, gain: {row.name} is constant there: the signal has no variance")
    return slope / variance
