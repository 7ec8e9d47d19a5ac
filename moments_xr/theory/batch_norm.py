"""How batch norm makes noise and gradients explode in wide feed-forward nets (Yang et al. 2019, arXiv:1902.08129; THEORY 8).

A layer is y = W x, z = BN(y), x' = φ(g z + β). At the fixed point where all samples of a batch look alike to each other, z of a
batch of B is uniform on the sphere of radius √B in the space of vectors of mean zero, of n = B − 1 dimensions, and its
length before normalisation is independent of it. A layer multiplies squared noise over signal variance by δχ², whatever
σ_w² and σ_b² are. With s = E φ_a² − E φ_a φ_b, φ_a = φ(g z_a + β), φ'_a its derivative and a ≠ b in the batch:

    frozen     δχ² = B/(B − 3) · g² E φ'_a² / s
    full       δχ² = g² ( E φ'_a² (n − z_a²) + E φ'_a φ'_b (1 + z_a z_b) ) / ((B − 3) s)

`frozen` is of noise that is divided by the signal's standard deviation (THEORY 1): B/(B − 3) is what dividing by that of B − 1
free values adds. `full` is of the derivative through the statistics as well, dz = (√B/|y|)(1 − zzᵀ/B)(1 − 11ᵀ/B) dy, so of the gradients
that training uses: symmetry leaves noise and gradients one matrix of second moments between samples that is kept, P = 1 − 11ᵀ/B, and
σ_w² E tr(JᵀPJ)/(B − 1) multiplies it, J = dφ/dy of one channel over the batch. What is projected out makes it the smaller of the two. As B → ∞ both are
E[(dφ/dz)²]/Var φ of Gaussian z.

With w_k = f_k² (1 − C_k(−1/n)/C_k(1)), f_k² the part of E φ_a² that is of order k in Gegenbauer's polynomials C_k of index (n − 2)/2,

    full       δχ² = Σ_k w_k k (k + B − 3)/(B − 3) / Σ_k w_k  ≥  (B − 2)/(B − 3)

(Poincaré's inequality on the sphere), with equality for straight lines alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from scipy import integrate

from moments_xr.activations import Activation, Function, activation
from moments_xr.errors import RequestError
from moments_xr.theory.gaussian import expectation
from moments_xr.theory.gaussian_kernels import Array, kernels

Derivative = Literal["frozen", "full"]
"""Of what growth is: noise over statistics that stay as they are, or the derivative through them too."""

SMALLEST_BATCH = 4
"""With 3 samples or fewer the mean of 1/μ₂(y) is infinite."""

PANELS, NODES = 16, 48
"""Of the integral over pairs of a finite batch: panels of the angle, beside those between kinks, and nodes of each panel."""


def explosion_rate(
    of: str | Activation | Function,
    batch: float = np.inf,
    gain: float = 1.0,
    shift: float = 0.0,
    derivative: Derivative = "frozen",
) -> float:
    """δχ² per layer: by what factor squared noise grows over the signal's variance, in a wide batch-normalised net.

    Sensitivity χ grows by its root. Towards the linear regime it falls to that of a straight line, which is 1 for many
    samples: a shift β ≫ g with ReLU (all channels pass), a gain g ≪ 1 with tanh. It is of infinite width; of the
    width that a net has, with an interval, `explosion_at_width`.

    Parameters
    ----------
    of
        φ.
    batch
        Number B of samples and positions that statistics are taken over, each independent; ∞ for many.
    gain, shift
        g and β of batch norm, the same for all channels.
    derivative
        `frozen`: of noise that is divided by the batch's standard deviation and not differentiated through it; the
        sensitivity χ of this package and of Labatie 2019. `full`: of the derivative through mean and variance of the
        batch, so of the squared gradients of a net in training mode (Yang et al. 2019).

    Returns
    -------
    float
        Without unit; 1 is no explosion.

    Raises
    ------
    RequestError
        The batch is smaller than 4, where the mean is infinite, or no whole number; the derivative is neither of the two;
        or φ is constant at this gain and shift.

    Notes
    -----
    For φ(a y) = a φ(y), a > 0, without shift, in the arc-cosine kernels J₀ and J of c = −1/(B − 1), J(1) = J₀(1) = 1: frozen,
    B/((B − 3)(1 − J)); full, (B − 2 + J₀ + J)/((B − 3)(1 − J)). A straight line: (B − 1)/(B − 3) and (B − 2)/(B − 3). ReLU at
    B = ∞: π/(π − 1).

    Examples
    --------
    >>> from moments_xr.theory import explosion_rate
    >>> [round(explosion_rate("relu", batch), 4) for batch in (32, 128, float("inf"))]
    [1.5817, 1.4935, 1.4669]
    >>> [round(explosion_rate("relu", batch, derivative="full"), 4) for batch in (32, 128, float("inf"))]
    [1.522, 1.4797, 1.4669]
    >>> round(explosion_rate("relu", shift=3), 4), round(explosion_rate("tanh", gain=0.1), 4)
    (1.0011, 1.0001)
    """
    row = activation(of)
    check(batch, gain, derivative)
    if np.isinf(batch):
        return _many(row, gain, shift)
    if row.homogeneous and shift == 0:
        return _homogeneous(row, batch, derivative)
    return _few(row, batch, gain, shift, derivative)


def explosion_depth(
    of: str | Activation | Function,
    chi: float = 1e3,
    batch: float = np.inf,
    gain: float = 1.0,
    shift: float = 0.0,
    derivative: Derivative = "frozen",
) -> float:
    """Number of layers after which the sensitivity χ reaches a value: log χ² over the log of `explosion_rate`.

    With `derivative="full"`, after which gradients have grown by that factor.

    Examples
    --------
    >>> from moments_xr.theory import explosion_depth
    >>> round(explosion_depth("relu", 1000), 1), round(explosion_depth("relu", 1000, shift=2), 0)
    (36.1, 785.0)
    >>> [round(explosion_depth("relu", 1000, 16, derivative=one), 1) for one in ("frozen", "full")]
    [25.4, 29.8]
    """
    log_rate = np.log(explosion_rate(of, batch, gain, shift, derivative))
    return float(2 * np.log(chi) / log_rate) if log_rate > 1e-12 else np.inf


def check(batch: float, gain: float, derivative: str) -> None:
    """Raise RequestError where growth under batch norm is not defined."""
    if not batch >= SMALLEST_BATCH:
        raise RequestError(f"batch: {batch:g} samples; with fewer than {SMALLEST_BATCH} the growth has no finite mean")
    if np.isfinite(batch) and batch != int(batch):
        raise RequestError(f"batch: {batch:g} is no number of samples: it needs to be whole, or infinite")
    if gain == 0:
        raise RequestError("gain: 0 leaves nothing of the signal")
    if derivative not in get_args(Derivative):
        raise RequestError(f"derivative: '{derivative}' is not one of {', '.join(get_args(Derivative))}")


def _many(row: Activation, gain: float, shift: float) -> float:
    """E[(dφ/dz)²]/Var φ for z ~ N(0, 1)."""
    kinks = [(kink - shift) / gain for kink in row.kinks]
    mean = expectation(lambda z: row.phi(gain * z + shift), 1.0, kinks).value
    variance = expectation(lambda z: (row.phi(gain * z + shift) - mean) ** 2, 1.0, kinks).value
    slope = expectation(lambda z: (gain * row.derivative(gain * z + shift)) ** 2, 1.0, kinks).value
    return _ratio(row, float(slope), float(variance))


def _homogeneous(row: Activation, batch: float, derivative: Derivative) -> float:
    """In closed form: φ(y)² and φ'(y)² of these have expectations that don't see the radius, and y φ'(y) = φ(y)."""
    kernel, one, angle = kernels(row), np.array(1.0), np.array(np.arccos(-1 / (batch - 1)))
    square, product = float(kernel.square(one)), float(kernel.product(one, one, angle))
    grown = batch * square
    if derivative == "full":
        grown = (batch - 2) * square + float(kernel.slope_product(one, one, angle)) + product
    return grown / ((batch - 3) * (square - product))


def _few(row: Activation, batch: float, gain: float, shift: float, derivative: Derivative) -> float:
    """Both by quadrature, for any φ."""
    n = batch - 1
    kinks = [(kink - shift) / gain for kink in row.kinks]
    z_a, z_b, weight = _pairs(n, kinks)
    phi_a, phi_b = (row.phi(gain * z + shift) for z in (z_a, z_b))
    apart = float((weight * (phi_a - phi_b) ** 2).sum()) / 2

    def slope(z: Array) -> Array:
        return gain * row.derivative(gain * z + shift)

    if derivative == "frozen":
        grown = batch * _marginal(lambda z: slope(z) ** 2, n, kinks)
    else:
        grown = _marginal(lambda z: slope(z) ** 2 * (n - z * z), n, kinks)
        grown += float((weight * slope(z_a) * slope(z_b) * (1 + z_a * z_b)).sum())
    return _ratio(row, grown / (batch - 3), apart)


def _pairs(n: float, kinks: Sequence[float]) -> tuple[Array, Array, Array]:
    """Nodes z_a, z_b and weights of the mean over two samples: √n r (cos t, cos(t + α)), cos α = −1/n, r ∝ r (1 − r²)^{(n−4)/2}.

    Panels of r = sin(polar), and of t at each r, end where a sample meets a kink.
    """
    top = min(np.pi / 2, 9 / np.sqrt(n))
    met = np.arcsin(np.minimum(abs(np.array(kinks, dtype="f8")) / np.sqrt(n), np.sin(top)))
    polar, width = _panels(np.unique([0.0, top / 4, top / 2, top, *met]))
    density = width * np.sin(polar) * np.cos(polar) ** (n - 3)
    radius, turn = np.sqrt(n) * np.sin(polar)[:, None], np.arccos(-1 / n)
    corner = np.arccos(np.clip(np.array(kinks, dtype="f8") / radius, -1, 1))
    cuts = np.concatenate([corner, -corner, corner - turn, -corner - turn], axis=1) % (2 * np.pi)
    even = np.broadcast_to(np.linspace(0, 2 * np.pi, PANELS + 1), (len(polar), PANELS + 1))
    t, arc = _panels(np.sort(np.concatenate([even, cuts], axis=1), axis=1))
    weight = density[:, None] / density.sum() * arc / (2 * np.pi)
    return radius * np.cos(t), radius * np.cos(t + turn), weight


def _panels(ends: Array) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights between ends (…, end): (…, node)."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    left, half = ends[..., :-1, None], np.diff(ends)[..., None] / 2
    shape = (*ends.shape[:-1], -1)
    return (left + half * (1 + node)).reshape(shape), (half * weight).reshape(shape)


def _marginal(function: Callable[[Array], Array], n: float, kinks: Sequence[float]) -> float:
    """Mean over one sample, whose density is ∝ (1 − z²/n)^{(n−3)/2}."""
    reach = min(np.sqrt(n), 12.0)
    ends = np.unique([-reach, *(kink for kink in kinks if abs(kink) < reach), 0.0, reach])

    def total(integrand: Callable[[Array], Array]) -> float:
        def value(z: float) -> float:
            return float(integrand(np.array(z))) * (1 - z * z / n) ** ((n - 3) / 2)

        return sum(integrate.quad(value, *panel, limit=200)[0] for panel in pairwise(ends))

    return total(function) / total(np.ones_like)


def _ratio(row: Activation, slope: float, variance: float) -> float:
    if not (variance > 0 and slope > 0):
        raise RequestError(f"shift, gain: {row.name} is constant there: the signal has no variance")
    return slope / variance
