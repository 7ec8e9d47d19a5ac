"""Moments over data and positions, per channel; statistics over channels; effective ranks (THEORY 2).

Every row of `quantities.MOMENTS` has one reduction here, and every row of `quantities.STATISTICS` one statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from moments_xr.propagation.steps import flat


class Views:
    """The signal and the noise at a site, (realization, position, channel), and what several reductions share."""

    def __init__(self, pair: torch.Tensor) -> None:
        self.signal, self.noise = flat(pair)

    @cached_property
    def nu1(self) -> torch.Tensor:
        return self.signal.mean(1)

    @cached_property
    def centred(self) -> torch.Tensor:
        return self.signal - self.nu1[:, None]

    @cached_property
    def centred_square(self) -> torch.Tensor:
        return self.centred.square()

    @cached_property
    def mu2(self) -> torch.Tensor:
        return self.centred_square.mean(1)

    @cached_property
    def noise_square(self) -> torch.Tensor:
        return self.noise.square()

    @cached_property
    def centred_noise(self) -> torch.Tensor:
        return self.noise - self.noise.mean(1, keepdim=True)


REDUCTIONS: dict[str, Callable[[Views], torch.Tensor]] = {
    "nu1_signal": lambda v: v.nu1,
    "nu1_abs_signal": lambda v: v.signal.abs().mean(1),
    "nu2_signal": lambda v: v.mu2 + v.nu1.square(),
    "mu2_signal": lambda v: v.mu2,
    "mu4_signal": lambda v: v.centred_square.square().mean(1),
    "mu2_noise": lambda v: v.noise_square.mean(1),
    "mu4_noise": lambda v: v.noise_square.square().mean(1),
}

RANKED: dict[str, Callable[[Views], torch.Tensor]] = {
    "signal": lambda v: v.centred,
    "noise": lambda v: v.centred_noise,
}


def _plus_minus(m: dict[str, torch.Tensor]) -> torch.Tensor:
    # nu1(v+) = (nu1(|v|) + nu1(v)) / 2 and nu1(v-) = (nu1(|v|) - nu1(v)) / 2
    return (0.25 * (m["nu1_abs_signal"] ** 2 - m["nu1_signal"] ** 2)).clamp(min=0).mean(-1)


def _mu2_ratio(m: dict[str, torch.Tensor]) -> torch.Tensor:
    # A channel that is constant and without noise counts as 0, not as 0/0.
    return torch.where(m["mu2_noise"] == 0, 0.0, m["mu2_noise"] / m["mu2_signal"]).mean(-1)


STATISTICS: dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]] = {
    "nu1_plus_minus_signal": _plus_minus,
    "mu2_ratio": _mu2_ratio,
    "var_nu2_signal": lambda m: m["nu2_signal"].var(-1),
    "var_mu2_signal": lambda m: m["mu2_signal"].var(-1),
    "var_mu2_noise": lambda m: m["mu2_noise"].var(-1),
}


def channel_moments(views: Views, names: Sequence[str]) -> torch.Tensor:
    """Moments of each channel: (realization, moment, channel)."""
    return torch.stack([REDUCTIONS[name](views) for name in names], 1)


def pool(channels: torch.Tensor, moments: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Means over channels of `moments`, and statistics over channels: (realization, name), float64.

    `channels` is (realization, moment, channel). Variances over channels have N − 1 in the denominator.
    """
    by_name = dict(zip(moments, channels.double().unbind(1), strict=True))
    return torch.stack([STATISTICS[n](by_name) if n in STATISTICS else by_name[n].mean(-1) for n in names], 1)


def effective_rank(centred: torch.Tensor) -> torch.Tensor:
    """r_eff = Tr C / ‖C‖ of vectors (realization, position, channel) that are centred: (realization,); NaN for zeros.

    The eigenvalues come from the smaller of the two Gram matrices (THEORY 2; Vershynin 2010).
    """
    positions, channels = centred.shape[1:]
    gram = centred @ centred.mT if positions <= channels else centred.mT @ centred
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (trace / torch.linalg.eigvalsh(gram)[..., -1]).clamp(min=1)


def slope_spread(slope: torch.Tensor) -> torch.Tensor:
    """Share of the variance of slopes (realization, sample, *space, channel) that is over the data within channels (THEORY 6).

    (realization,), float64: 0 where every channel has one slope for all data, 1 where all channels have the same mean; 0 too
    where there is one slope for all, to rounding.
    """
    slopes = slope.flatten(1, -2)
    mean = slopes.mean(1)
    within = (slopes - mean[:, None]).square().mean(1).double().mean(-1)
    total = within + mean.double().var(-1, correction=0)
    straight = total <= torch.finfo(slope.dtype).eps ** 2 * mean.double().square().mean(-1)
    return torch.where(straight, 0.0, within / total)


def pair_correlation(signal: torch.Tensor) -> torch.Tensor:
    """c_ab = ⟨x_a, x_b⟩/(‖x_a‖ ‖x_b‖) of every two samples a < b (THEORY 8), over positions and channels, not centred.

    (realization, sample, *space, channel) -> (realization, pair), in the order of `numpy.triu_indices`; NaN for zeros.
    """
    vectors = signal.flatten(2).double()
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    first, second = torch.triu_indices(vectors.shape[1], vectors.shape[1], 1, device=signal.device)
    return (unit @ unit.mT)[:, first, second].clamp(-1, 1)
