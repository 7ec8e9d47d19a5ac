"""What becomes of a batch's signal with depth at finite width, by drawing nets: what `propagate_collapse` is the limit of.

N channels in l layers spread the eigenvalues of M samples by some l M/N, so that directions are lost, and channels come to one side of
the activation, sooner than at infinite width. Given the layer before, channels of Gaussian weights are independent Gaussian vectors
over the batch, whose covariance a square root draws as well as weights would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.collapse import Collapse
from moments_xr.theory.gaussian_kernels import Array
from moments_xr.theory.maps import check

Sites = tuple[Array, Array, Array]
"""(channel, sample) each: what enters the activation, where ranks are taken, and the layer's output."""

NORMED = ("bn_ff", "bn_res")


def collapse_at_width(
    of: str | Activation | Function,
    signal: Array,
    depth: int,
    width: int,
    weight_variance: float,
    bias_variance: float = 0.0,
    keep: float = 1.0,
    architecture: str = "vanilla",
    unit_depth: int = 1,
    epsilon: float = 1e-3,
    layers: Sequence[int] | None = None,
    nets: int = 4,
    seed: int = 0,
) -> Collapse:
    """The statistics of `propagate_collapse` in drawn nets of Gaussian weights: arrays (net, layer), logarithms.

    Parameters
    ----------
    of
        Name, row or function φ.
    signal
        x⁰ (sample, feature), as it enters the embedding.
    depth, width
        Layers, or residual units, after the embedding, and channels N.
    weight_variance, bias_variance, keep
        σ_w², σ_b² and the keep rate ρ of dropout.
    architecture
        `vanilla`, `res`, `bn_ff` or `bn_res`. With batch norm statistics of pre-activations are of the normalised z.
    unit_depth, epsilon
        Convolutions in a unit of `bn_res`; what batch norm adds to the variance.
    layers
        At which the statistics are taken; all if not given.
    nets, seed
        How many are drawn; net r has the stream (seed, r).

    Raises
    ------
    RequestError
        A variance is negative, `keep` isn't in (0, 1], the architecture is not one of those, or the signal, depth, width or
        nets are not what they should be.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory import collapse_at_width, propagate_collapse
    >>> x = np.random.default_rng(0).normal(size=(16, 100))
    >>> drawn = collapse_at_width("relu", x, depth=50, width=64, weight_variance=2)
    >>> wide = propagate_collapse("relu", x, depth=50, weight_variance=2)
    >>> bool(drawn.rank_excess[:, -1].mean() < wide.rank_excess[-1])  # narrow nets lose directions sooner
    True
    """
    row = activation(of)
    check(weight_variance=weight_variance, bias_variance=bias_variance, keep=keep)
    if architecture not in STEPS:
        raise RequestError(f"architecture: '{architecture}' is not one of {', '.join(STEPS)}")
    if min(depth, width, unit_depth, nets) < 1 or np.ndim(signal) != 2 or not np.isfinite(signal).all():
        raise RequestError(
            f"depth {depth}, width {width}, unit_depth {unit_depth}, nets {nets} need to be at least 1, and signal "
            "(sample, feature) and finite"
        )
    chosen = set(range(1, depth + 1) if layers is None else layers)
    normed = architecture in NORMED
    found = []
    for r in range(nets):
        net = Net(
            row, np.random.default_rng((seed, r)), width, weight_variance, bias_variance, keep, unit_depth, epsilon
        )
        each = zip(range(depth), _propagated(net, architecture, np.asarray(signal, dtype="f8")), strict=False)
        found.append([_statistics(row, *sites, normed) for layer, sites in each if layer + 1 in chosen])
    return Collapse(*np.moveaxis(np.array(found), -1, 0))


class Net:
    """One net that is drawn layer by layer."""

    def __init__(
        self, row: Activation, rng: np.random.Generator, width: int, weight_variance: float, bias_variance: float,
        keep: float, unit_depth: int, epsilon: float,
    ) -> None:  # fmt: skip
        self.row, self.rng, self.width = row, rng, width
        self.weight_variance, self.bias_variance = weight_variance, bias_variance
        self.keep, self.unit_depth, self.epsilon = keep, unit_depth, epsilon
        self.scale = 1.0
        """Factor taken out of the signal, where φ is homogeneous."""

    def affine(self, x: Array, variance: float | None = None) -> Array:
        """W x + b of (channel, sample); W alone, of a given variance, for the embedding."""
        bias = 0.0 if variance is not None else np.sqrt(self.bias_variance) / self.scale
        if variance is None and self.keep < 1:
            x = x * (self.rng.random(x.shape) < self.keep) / self.keep
        fan_in, samples = x.shape
        root = _root(x) if samples < fan_in else x
        deviation = np.sqrt((self.weight_variance if variance is None else variance) / fan_in)
        y: Array = deviation * self.rng.normal(size=(self.width, len(root))) @ root
        return y + bias * self.rng.normal(size=(self.width, 1)) if bias else y

    def norm(self, y: Array) -> Array:
        """Batch norm over the samples."""
        y = y - y.mean(1, keepdims=True)
        return y / np.sqrt(np.square(y).mean(1, keepdims=True) + self.epsilon)

    def rescaled(self, x: Array) -> Array:
        """x as it is, or divided by its root mean square where φ is homogeneous: a net of any depth stays within the floats."""
        size = float(np.sqrt(np.square(x).mean()))
        if not self.row.homogeneous or size == 0:
            return x
        self.scale *= size
        return x / size


def _vanilla(net: Net, x: Array) -> Sites:
    y = net.affine(x)
    out = net.row.phi(y)
    return y, out, out


def _res(net: Net, x: Array) -> Sites:
    y = net.affine(x)
    out = x + net.affine(net.row.phi(y))
    return y, out, out


def _bn_ff(net: Net, x: Array) -> Sites:
    z = net.norm(net.affine(x))
    out = net.row.phi(z)
    return z, out, out


def _bn_res(net: Net, x: Array) -> Sites:
    first = z = net.norm(x)
    branch = x
    for h in range(net.unit_depth):
        z = first if h == 0 else net.norm(branch)
        branch = net.affine(net.row.phi(z))
    return first, net.row.phi(first), x + branch


STEPS = {"vanilla": _vanilla, "res": _res, "bn_ff": _bn_ff, "bn_res": _bn_res}


def _propagated(net: Net, architecture: str, signal: Array) -> Iterator[Sites]:
    x = net.affine(signal.T, variance=1.0)
    while True:
        x = x if architecture in NORMED else net.rescaled(x)
        sites = STEPS[architecture](net, x)
        yield sites
        x = sites[-1]


def _root(x: Array) -> Array:
    """A square root (sample, sample) of xᵀx, whose products with independent normals have the law of products of x."""
    squares, vectors = np.linalg.eigh(x.T @ x)
    return np.asarray(np.sqrt(np.maximum(squares, 0))[:, None] * vectors.T)


@np.errstate(divide="ignore", invalid="ignore")
def _statistics(row: Activation, y: Array, ranked: Array, x: Array, normed: bool) -> list[float]:
    """The five logarithms of `Collapse`."""
    away, spread = x - x.mean(1, keepdims=True), ranked - ranked.mean(1, keepdims=True)
    square = np.square(away).mean()
    values = np.linalg.eigvalsh(spread.T @ spread if ranked.shape[1] < len(ranked) else spread @ spread.T)
    centred = y - y.mean(1, keepdims=True)
    mu2, mu4 = np.square(centred).mean(1), (centred**4).mean()
    plus, minus = np.maximum(y, 0).mean(1), np.maximum(-y, 0).mean(1)
    slope = row.derivative(y)
    total = slope.var()
    return np.log(
        [
            square / np.square(x).mean(),
            max(values[:-1].sum(), 0.0) / values[-1],
            (plus * minus).mean() / mu2.mean(),
            slope.var(1).mean() / total if total > 0 else 0.0,
            mu4 if normed else mu4 / np.square(mu2).mean(),
        ]
    ).tolist()
