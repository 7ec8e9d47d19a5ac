"""Squared singular values λ of a product of free matrices D W: their density, from the laws of d in each layer (THEORY 8).

With M(z) = Σ_k E[λᵏ]/zᵏ, and w_l the point where the squares of D of layer l have M_l(w_l) = m, S-transforms multiply to

    z = (1 + m)/m · ∏_l σ_w² m w_l / (1 + m)ᵒ        o = 1 for orthogonal weights, 0 for Gaussian ones

(Pennington, Schoenholz, Ganguli 2018, arXiv:1802.09979), so that the w tell z and only the M_l have to be known. On the negative
axis everything is real. From there z is turned, at a given modulus, to the positive axis: the w stay in the upper half plane
all the way (subordination), where the map is smooth, so that Newton's method follows it, in logarithms, for any depth. On the
positive axis the density of log λ is −Im m/π.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[Any]

PHASES = np.pi * 0.72 ** np.arange(1, 60)
"""Phases of z on its way from the negative axis, down to 10⁻⁸.

Around log z, w is univalent in a disc whose radius is the phase (the upper half plane goes into itself), so that by Koebe's
theorem Newton's method converges after a step that is a fraction of it.
"""


FAILED = 1e-3
"""Where log z is farther from where it should be, Newton's method has lost its way."""


class Table(NamedTuple):
    """Density of log λ, and the fractions below and above each, atoms apart."""

    log_lambda: Array
    density: Array
    below: Array
    above: Array


class Law(NamedTuple):
    """The law of d in some of the layers: values in increasing order, their probabilities, and the number of layers."""

    values: Array
    probabilities: Array
    layers: int

    @property
    def mean(self) -> float:
        return float(self.probabilities @ self.values)

    @property
    def zero(self) -> float:
        return float(self.probabilities[self.values == 0].sum())

    def transforms(self, shift: Array, top: float = 0.0) -> tuple[Array, Array, Array]:
        """m = M(w) = E[d/(w − d)], 1 + m, and dm/dw, at w = top + shift, which may be nearer to the top than rounding."""
        resolvent = 1 / (shift[:, None] + (top - self.values))
        weighted = self.probabilities * self.values
        return resolvent @ weighted, (top + shift) * (resolvent @ self.probabilities), -(resolvent**2) @ weighted

    def real(self, m: Array, top: float, sign: int) -> Array:
        """x where M(top + sign·eˣ) = m, for real m of that sign."""
        x = np.linspace(-60, 60, 4000)
        table, *_ = self.transforms(sign * np.exp(x), top)
        x = np.interp(-np.log(abs(m)), -np.log(abs(table)), x)
        for _ in range(3):
            shift = sign * np.exp(x)
            found, _, slope = self.transforms(shift, top)
            x = x - np.log(found / m) * found / (slope * shift)
        return x


class Curve:
    """z as a function of the w, for squared singular values of mean 1; v = log(−w) of each law, m that of the first."""

    def __init__(self, laws: list[Law], power: int) -> None:
        self.laws, self.power = sorted(laws, key=lambda law: -law.zero), power
        self.depth = sum(law.layers for law in laws)

    def log_z(self, v: list[Array]) -> tuple[Array, Array, Array, list[tuple[Array, Array]]]:
        """log z, where the M_l are brought to agree; its derivative by the first v; m; and how each v follows the first.

        To first order v_l has to move by (offset) and, for each unit of the first, by (rate).
        """
        first: tuple[Array, Array, Array] | None = None
        moves: list[tuple[Array, Array]] = []
        log_z = derivative = np.zeros_like(v[0])
        for law, own in zip(self.laws, v, strict=True):
            w = -np.exp(own)
            m, m1, slope = law.transforms(w)
            if first is None:
                first = m, m1, slope * w
            offset, rate = (first[0] - m) / (slope * w), first[2] / (slope * w)
            moves.append((offset, rate))
            log_z = log_z + law.layers * (own + offset - np.log(law.mean))
            derivative = derivative + law.layers * rate
        assert first is not None
        m, m1, slope = first
        log_z = log_z + (1 - self.depth * self.power) * np.log(m1) + (self.depth - 1) * np.log(-m) + 1j * np.pi
        derivative = derivative + slope * ((1 - self.depth * self.power) / m1 + (self.depth - 1) / m)
        return log_z, derivative, m, moves

    def log_edge(self) -> float:
        """Log of the largest λ: the least z over all w above the largest d."""
        first, *others = self.laws

        def log_z(t: Array) -> Array:
            shift = np.exp(np.atleast_1d(t))
            m, m1, _ = first.transforms(shift, first.values[-1])
            total = np.log(m1 / m) + first.layers * np.log((first.values[-1] + shift) / first.mean)
            for law in others:
                total = total + law.layers * np.log(
                    (law.values[-1] + np.exp(law.real(m, law.values[-1], 1))) / law.mean
                )
            return total + self.depth * (np.log(m) - self.power * np.log(m1))

        grid = np.linspace(-35, 20 + np.log(self.depth), 1000)
        least = int(np.argmin(log_z(grid)))
        around = grid[max(least - 1, 0)], grid[min(least + 1, len(grid) - 1)]
        found = optimize.minimize_scalar(
            lambda t: log_z(t)[0], bounds=around, method="bounded", options={"xatol": 1e-10}
        )
        return float(found.fun)

    def atom(self) -> tuple[float, float]:
        """Mass and log λ of the atom that orthogonal weights leave: 1 − Σ (1 − p) of atoms of mass p of each D."""
        which = [int(np.argmax(law.probabilities)) for law in self.laws]
        mass = 1 - sum(law.layers * (1 - law.probabilities[i]) for law, i in zip(self.laws, which, strict=True))
        values = np.array([law.values[i] / law.mean for law, i in zip(self.laws, which, strict=True)])
        if not self.power or mass < 1e-12 or not values.all():
            return 0.0, np.nan
        return float(mass), float(np.log(values) @ [law.layers for law in self.laws])

    @cached_property
    def negative_axis(self) -> tuple[Array, list[Array], Array]:
        """log |z|, the v and 1 + m for negative z, where the w are negative."""
        first, *others = self.laws
        v = np.linspace(-60, 40 + np.log(self.depth), 4000)
        m, m1, _ = first.transforms(-np.exp(v))
        kept = m1 - first.zero > 1e-9
        v, m, m1 = v[kept], m[kept], m1[kept]
        every = [v, *(law.real(m, 0.0, -1) for law in others)]
        log_z, *_ = self.log_z([own.astype("c16") for own in every])
        return log_z.real, every, m1

    def log_low(self, fraction: float) -> float:
        """log λ that less than about twice this fraction is below: at z = −x, 1 + m = E[x/(x + λ)]."""
        log_z, _, smoothed = self.negative_axis
        return float(log_z[np.searchsorted(smoothed, fraction)])

    def tabulate(self, low: float, high: float, points: int) -> Table:
        """The density of log λ at Chebyshev's points, for it may begin and end like a square root."""
        angle = (np.arange(points) + 0.5) * np.pi / points
        log_lambda = low + (high - low) * 0.5 * (1 - np.cos(angle))
        density = np.maximum(-self.rotate(log_lambda).imag, 0) / np.pi
        mass = density * np.sin(angle) * 0.5 * (high - low) * np.pi / points
        below = np.cumsum(mass)
        return Table(log_lambda, density, below, below[-1] - below + 0.5 * mass)

    def rotate(self, log_lambda: Array) -> Array:
        """m at z = λ + i0: z is turned from −λ. Real where that fails, far below the law, where all w are next to the real axis."""
        log_z, start, _ = self.negative_axis
        v = [np.interp(log_lambda, log_z, own).astype("c16") for own in start]
        reached, derivative, m, moves = self.log_z(v)
        for phase in PHASES:
            for _ in range(2):
                step = (log_lambda + 1j * phase - reached) / derivative
                v = [own + _short(offset + rate * step) for own, (offset, rate) in zip(v, moves, strict=True)]
                reached, derivative, m, moves = self.log_z(v)
        failed = abs(reached - log_lambda) > FAILED
        return np.where(failed, m.real, m)


def _short(step: Array) -> Array:
    """A step of at most ½: v turns by π in all."""
    return step / np.maximum(1, 2 * abs(step))
