"""Explosion under batch norm at finite width, by drawing nets: what `explosion_rate` leaves out where N isn't large.

At finite width the second moments of a batch fluctuate about the fixed point, noise turns towards the signals' span, and
there is no expansion in 1/N to be had where it is needed: if φ(a y) = a φ(y), the norm of one sample among the others is a marginal
direction: the fixed point draws it back at a rate of order 1/B only (ReLU: 2.2/B), and beyond a distance of that order it runs
away until that sample has a share of the batch's variance. Fluctuations go that far unless N is of order B³. So nets are
drawn, in the smaller of two ways that have one law: y and dy of all channels are independent given the last layer, Gaussian
with the second moments of (x, dx), of which a triangular root is as good as x and dx themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.batch_norm import Derivative, check
from moments_xr.theory.gaussian_kernels import Array

LEVEL = 0.95
"""Of the interval."""


class DrawnExplosion(NamedTuple):
    """δχ² per layer, exp of the mean of its log over layers and nets; its 95 % interval; log δχ² of each net, mean over layers."""

    rate: float
    low: float
    high: float
    log_rates: Array


def explosion_at_width(
    of: str | Activation | Function,
    batch: int,
    width: int,
    depth: int = 100,
    gain: float = 1.0,
    shift: float = 0.0,
    derivative: Derivative = "frozen",
    nets: int = 8,
    seed: int = 0,
) -> DrawnExplosion:
    """δχ² per layer of batch-normalised nets of finite width, drawn from independent samples on.

    Of what `explosion_rate` is the limit N → ∞. ReLU's growth of χ falls short of that limit by several per cent at batches of
    64 and more, and comes to it as slowly as 1/√N; that of smooth activations is above it by a few times 1/N.

    Parameters
    ----------
    of
        φ.
    batch
        Number B of samples.
    width, depth
        Channels N and layers L. The mean is over all layers; ReLU's falls with depth where batches are large (N = B = 512: log δχ²
        is .361 over 100 layers and .359 over 200).
    gain, shift, derivative
        As those of `explosion_rate`.
    nets
        How many are drawn. 8 nets of width 512 and 100 layers give log δχ² within 0.001 (B = 64).
    seed
        Net r has the stream (seed, r), whatever `nets`.

    Returns
    -------
    DrawnExplosion
        The rate, the ends of a 95 % interval from the spread of nets (Student's t), and log δχ² of each net (net,).

    Raises
    ------
    RequestError
        As `explosion_rate`; or batch, width, depth or nets are not whole numbers, at least 4, 1, 1 and 2.

    Notes
    -----
    It takes `operations` a net: 5 ms a layer at N = 512, B = 64 on one core, 30 ms at B = 512.

    Examples
    --------
    >>> from moments_xr.theory import explosion_at_width, explosion_rate
    >>> drawn = explosion_at_width("relu", batch=64, width=64, depth=40)
    >>> drawn.low < drawn.rate < drawn.high < explosion_rate("relu", 64)
    True
    """
    row = activation(of)
    check(batch, gain, derivative)
    for name, value, least in (("batch", batch, 4), ("width", width, 1), ("depth", depth, 1), ("nets", nets, 2)):
        if value != np.floor(value) or not least <= value < np.inf:
            raise RequestError(f"{name}: {value:g} needs to be a whole number of at least {least}")
    streams = (np.random.default_rng((seed, r)) for r in range(nets))
    sizes = int(batch), int(width), int(depth)
    log_rates = np.array([_drawn(row, *sizes, gain, shift, derivative, rng) for rng in streams])
    mean, half = log_rates.mean(), stats.t.ppf(0.5 + LEVEL / 2, nets - 1) * log_rates.std(ddof=1) / np.sqrt(nets)
    rate, low, high = np.exp([mean, mean - half, mean + half]).tolist()
    return DrawnExplosion(rate, low, high, log_rates)


def operations(batch: int, width: int, depth: int) -> float:
    """Additions and multiplications that it takes to draw one net."""
    return 4.0 * depth * width * batch * min(width, 4 * batch)


def _drawn(
    row: Activation,
    batch: int,
    width: int,
    depth: int,
    gain: float,
    shift: float,
    derivative: Derivative,
    rng: np.random.Generator,
) -> float:
    """Log-increment of squared noise over signal variance of one net, mean over its layers."""
    x, dx = rng.normal(size=(2, width, batch))
    log_size, start = 0.0, _log_ratio(x, dx)
    for _ in range(depth):
        both = np.concatenate([x, dx], axis=1)
        root = np.linalg.qr(both, mode="r") if 4 * batch < width else both
        y, dy = np.split(rng.normal(size=(width, len(root))) @ root / np.sqrt(width), 2, axis=1)
        y = y - y.mean(1, keepdims=True)
        deviation = np.sqrt(np.square(y).mean(1, keepdims=True))
        z = y / deviation
        if derivative == "full":
            dy = dy - dy.mean(1, keepdims=True)
            dy = dy - z * (z * dy).mean(1, keepdims=True)
        x, dx = row.phi(gain * z + shift), gain * row.derivative(gain * z + shift) * dy / deviation
        size = np.sqrt(np.square(dx).mean())
        if not size > 0 or np.ptp(x) == 0:
            raise RequestError(f"shift, gain: {row.name} is constant there: the signal has no variance")
        log_size, dx = log_size + 2 * np.log(size), dx / size
    return (log_size + _log_ratio(x, dx) - start) / depth


def _log_ratio(x: Array, dx: Array) -> float:
    """log μ₂(dx)/μ₂(x) of (channel, sample)."""
    return float(np.log(np.square(dx).mean()) - np.log(x.var(axis=1).mean()))
