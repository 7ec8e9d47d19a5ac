"""Which law of growth ranges of depth show, from the local exponents of independent rows: plain numpy (THEORY 6).

Growth at a rate ∝ l^−p is exponential for p = 0 and a power of depth for p = 1. A law is named where p is surely its own, and
the curve keeps to it; what surely lies between is an answer too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moments_xr.analysis.local_exponent import Exponent, departure, local_exponent
from moments_xr.analysis.realizations import mean_interval

Array = NDArray[Any]

ANSWERS = ("undecided", "exponential", "power", "bounded", "between")
UNDECIDED, EXPONENTIAL, POWER, BOUNDED, BETWEEN = range(5)

APART_FROM_EXPONENTIAL, APART_FROM_POWER = 0.08, 0.09
"""How far from 0, and from 1, an exponent is another's: l^0.9, or (log l)^1.5 down to layer 200, are told apart."""

FAR = 0.3
"""How far from its law's the interval may reach on its other side: of exponential growth below 0, of a power law above 1."""

TRANSIENT = 0.4
"""How far above 0 the exponent of exponential growth may lie over the whole range, from a transient at its beginning."""

ROUGHLY_POWER = {"shallower": 0.5, "deeper": 0.75}
"""Least exponents of a power law in halves of the range, where its offset is left in."""

SATURATES = 1.5
"""Exponent beyond which growth is bounded; (log l)^½, which is not, has at most 1.4 where the range begins."""

BELOW_POWER, STEADY = 0.8, 0.9
"""Greatest exponent told apart from that of a power law with an offset, and the share of its rise with depth that is too much."""

KEEPS, ROUGHLY_KEEPS = 0.015, 0.06
"""How far, in shares of its growth, a curve may surely leave l^−p where p is its law, and where it only tells that growth ends:
1 − e^(−l/ξ) leaves it by up to .042. Oscillations of this size could shift p by as much as its tolerance."""

NEGLIGIBLE = 0.03
"""Growth slower than l^0.03, 2.1 % when depth doubles, is none."""


class Range(NamedTuple):
    """What rows show over a range of depths."""

    exponent: Exponent
    departure: float
    """How far they leave the law of this exponent."""
    grows: bool
    still: bool
    """Whether nothing is seen to grow, and nowhere more than is negligible."""

    def answer(self) -> int:
        """The law over this range by itself."""
        _, low, high = self.exponent
        if self.still or (low > SATURATES and self.departure < ROUGHLY_KEEPS):
            return BOUNDED
        if not self.grows or self.departure > KEEPS:
            return UNDECIDED
        if low > -FAR and high < APART_FROM_EXPONENTIAL:
            return EXPONENTIAL
        if low > 1 - APART_FROM_POWER and high < 1 + APART_FROM_POWER:
            return POWER
        apart = (low > APART_FROM_EXPONENTIAL and high < BELOW_POWER) or low > 1 + APART_FROM_POWER
        return BETWEEN if apart else UNDECIDED


def look(rows: Array, layers: Array) -> Range:
    """What rows show over these layers."""
    exponent = local_exponent(rows, layers)
    _, low, high = mean_interval(rows[:, 1:] - rows[:, :1])
    still = low[-1] <= 0 and high.max() < NEGLIGIBLE * np.log(layers[-1] / layers[0])
    return Range(exponent, departure(rows, layers, exponent.value), bool(low[-1] > 0), bool(still))


def verdict(whole: Range, shallower: Range, deeper: Range, corrected: Exponent, ratio: float) -> int:
    """What the ranges say together.

    Parameters
    ----------
    corrected
        Local exponent over the whole range with a correction in 1/l, which the offset of a power law makes.
    ratio
        Between depths of the halves.
    """
    early, late = shallower.exponent, deeper.exponent
    if _is_exponential(whole, deeper):
        return EXPONENTIAL
    if deeper.answer() == BOUNDED:
        ends = whole.exponent.low > 1 + APART_FROM_POWER and shallower.departure < ROUGHLY_KEEPS
        return BOUNDED if deeper.still or ends else UNDECIDED
    if not (whole.grows and deeper.grows) or max(shallower.departure, deeper.departure) > KEEPS:
        return UNDECIDED
    if _is_power(whole.exponent, early, late, corrected):
        return POWER
    return BETWEEN if deeper.answer() == BETWEEN and _is_steady(early, late, ratio) else UNDECIDED


def _is_exponential(whole: Range, deeper: Range) -> bool:
    """Whether p is 0: over the deeper half, after a transient; or over the whole, and the deeper half doesn't deny it."""
    everywhere, late = whole.exponent, deeper.exponent
    not_faster = everywhere.low > -APART_FROM_EXPONENTIAL and late.low > -FAR
    if not (not_faster and deeper.grows and deeper.departure < KEEPS):
        return False
    after = late.high < APART_FROM_EXPONENTIAL and everywhere.high < TRANSIENT
    throughout = everywhere.high < APART_FROM_EXPONENTIAL and whole.departure < KEEPS
    return after or (throughout and late.low < APART_FROM_EXPONENTIAL / 2 and late.high < FAR)


def _is_power(whole: Exponent, shallower: Exponent, deeper: Exponent, corrected: Exponent) -> bool:
    """Whether p is 1 but for an offset, which makes it smaller at first: l/(l + c) for log(l + c)."""
    one = corrected.low > 1 - APART_FROM_POWER and corrected.high < 1 + FAR and whole.high < 1 + APART_FROM_POWER
    roughly = ROUGHLY_POWER["shallower"] < shallower.low and ROUGHLY_POWER["deeper"] < deeper.low
    return bool(one and roughly and deeper.high < SATURATES)


def _is_steady(shallower: Exponent, deeper: Exponent, ratio: float) -> bool:
    """Whether p keeps between two laws, and is not on its way to either.

    With depth p/(1 − p) rises ∝ l under a power law with an offset (and faster where growth saturates), and falls ∝ 1/l
    where an exponential emerges from a power of depth (faster from a shorter transient): steady is what surely does
    neither. Above 1 it must not fall back to 1 as fast as 1/l.
    """
    if deeper.low > 1:
        return bool(shallower.low > 1 and deeper.low - 1 > (shallower.high - 1) / ratio)
    if not 0 < shallower.low <= shallower.high < 1:
        return False
    least, most = (end / (1 - end) for end in (shallower.low, shallower.high))
    lower, upper = most * ratio**-STEADY, least * ratio**STEADY
    return bool(lower / (1 + lower) < deeper.low and deeper.high < upper / (1 + upper))
