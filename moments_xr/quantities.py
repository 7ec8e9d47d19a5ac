"""The vocabulary as data: one row a moment, derived statistic, site, step and quantity.

Schema, validation, analysis, plots and documentation are all derived from these rows. Letters are those of the paper
(Labatie, ICML 2019): nu are non-central and mu central moments; x is the signal, dx the noise.
"""

import math
from dataclasses import dataclass
from typing import Literal

Tensor = Literal["signal", "noise"]


@dataclass(frozen=True)
class Moment:
    """A moment per channel, over data and positions (THEORY 2): E[v^p], E|v| or E[(v - nu1)^p]."""

    name: str
    symbol: str
    long_name: str
    order: int
    tensor: Tensor
    signed: bool = False


@dataclass(frozen=True)
class Statistic:
    """A statistic over channels of moments per channel, which is not linear in them; `needs` are the moments used."""

    name: str
    symbol: str
    long_name: str
    order: tuple[int, int]
    """Powers of the signal's and of the noise's scale that it carries."""
    needs: tuple[str, ...]


MOMENTS: dict[str, Moment] = {
    row.name: row
    for row in (
        Moment("nu1_signal", "ν₁(x)", "mean of the signal", 1, "signal", signed=True),
        Moment("nu1_abs_signal", "ν₁(|x|)", "mean absolute signal", 1, "signal"),
        Moment("nu2_signal", "ν₂(x)", "mean square of the signal", 2, "signal"),
        Moment("mu2_signal", "μ₂(x)", "variance of the signal", 2, "signal"),
        Moment("mu4_signal", "μ₄(x)", "fourth central moment of the signal", 4, "signal"),
        Moment("mu2_noise", "μ₂(dx)", "variance of the noise, about zero", 2, "noise"),
        Moment("mu4_noise", "μ₄(dx)", "fourth moment of the noise, about zero", 4, "noise"),
    )
}

STATISTICS: dict[str, Statistic] = {
    row.name: row
    for row in (
        Statistic(
            "nu1_plus_minus_signal",
            "E[ν₁⁺ν₁⁻]",
            "mean over channels of the product of the means of the signal's positive and negative parts",
            (2, 0),
            ("nu1_signal", "nu1_abs_signal"),
        ),
        Statistic(
            "mu2_ratio",
            "E[μ₂(dx)/μ₂(x)]",
            "mean over channels of the ratio of the noise's variance to the signal's",
            (-2, 2),
            ("mu2_signal", "mu2_noise"),
        ),
        Statistic(
            "var_nu2_signal", "Var ν₂(x)", "variance over channels of the signal's mean square", (4, 0), ("nu2_signal",)
        ),
        Statistic(
            "var_mu2_signal", "Var μ₂(x)", "variance over channels of the signal's variance", (4, 0), ("mu2_signal",)
        ),
        Statistic(
            "var_mu2_noise", "Var μ₂(dx)", "variance over channels of the noise's variance", (0, 4), ("mu2_noise",)
        ),
    )
}


def scale_orders(name: str) -> tuple[int, int]:
    """Powers of the signal's and of the noise's scale in a pooled moment."""
    if name in STATISTICS:
        return STATISTICS[name].order
    moment = MOMENTS[name]
    return (moment.order, 0) if moment.tensor == "signal" else (0, moment.order)


def symbol(name: str) -> str:
    """Symbol of a pooled moment, an effective rank or χ."""
    derived = {"chi": "χ", "reff_signal": "r_eff(x)", "reff_noise": "r_eff(dx)"}
    return derived.get(name) or (MOMENTS.get(name) or STATISTICS[name]).symbol


def pooled_names(moments: tuple[str, ...]) -> tuple[str, ...]:
    """Pooled moments that the given moments per channel allow, in the registry's order."""
    derived = tuple(row.name for row in STATISTICS.values() if set(row.needs) <= set(moments))
    return tuple(name for name in MOMENTS if name in moments) + derived


@dataclass(frozen=True)
class Architecture:
    """Sites of a layer in the order of the flow; `steps` are (output, input) sites of each partial increment."""

    name: str
    long_name: str
    sites: tuple[str, ...]
    steps: dict[str, tuple[str, str]]
    plotted: tuple[str, str, str]
    """Sites of the papers' figures: of the increment's end, of the ranks, and of the moments of z."""
    normed: bool = True
    """Whether batch normalisation sets the scale of what enters the activation."""
    convolutions: int = 1
    """Of a layer; those of a `bn_res` unit are the recipe's `unit_depth`."""

    @property
    def output(self) -> str:
        return self.sites[-1]


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            "vanilla",
            "vanilla net",
            ("input", "conv", "act"),
            {"conv": ("conv", "input"), "act": ("act", "conv")},
            ("act", "act", "conv"),
            normed=False,
        ),
        Architecture(
            "bn_ff",
            "batch-normalised feed-forward net",
            ("input", "conv", "norm", "act"),
            {"bn": ("norm", "input"), "act": ("act", "norm")},
            ("act", "act", "norm"),
        ),
        Architecture(
            "bn_res",
            "batch-normalised residual net",
            ("input", "norm", "act", "conv", "sum"),
            {"unit": ("conv", "input"), "bn": ("norm", "input"), "act": ("conv", "norm"), "sum": ("sum", "input")},
            ("conv", "act", "norm"),
        ),
        Architecture(
            "res",
            "residual net without batch normalisation",
            ("input", "conv", "act", "sum"),
            {"conv": ("conv", "input"), "act": ("act", "conv"), "sum": ("sum", "input")},
            ("act", "sum", "conv"),
            normed=False,
            convolutions=2,
        ),
    )
}

SITES: dict[str, str] = {
    "input": "what enters the layer",
    "conv": "after the convolution",
    "norm": "after batch normalisation",
    "act": "after the activation",
    "sum": "after the residual sum",
}

LAWS: dict[str, str] = {
    "gaussian": "independent normal weights",
    "orthogonal": "rows of a random orthogonal matrix, output by all inputs of a neuron",
    "delta_orthogonal": "convolutions: a random orthogonal matrix at the centre tap, zero elsewhere",
    "mirrored": "normal weights in blocks W, −W above −W, W: a ReLU net of them is linear",
}
"""Laws of the weights."""

BRANCH_QUANTITIES: tuple[str, ...] = ("nu2_signal", "mu2_signal", "mu2_noise")
"""Quantities of which each redraw of a layer (a branch) records the log-increment."""

DECOMPOSED: dict[str, dict[str, float]] = {name: {name: 1.0} for name in BRANCH_QUANTITIES} | {
    "chi": {"mu2_noise": 0.5, "mu2_signal": -0.5}
}
"""Quantities whose evolution is decomposed, and the weights of the moments' logarithms that make theirs (THEORY 4)."""


HIGH_SENSITIVITY = 100.0
"""χ above which noise drowns the signal: what was one part in 100 of it has become as large as it is."""

GRADIENT_DECADES = 6.0
"""Powers of ten by which squared gradients may differ between the first layer and the last: gradients by a thousand. Steps
of one size are then too large for some layers or do nothing in others: nets that were trained by plain gradient descent
stopped learning from there on, either way (docs/analysis.md)."""

LINEAR_INCREMENT = 1.05
"""Pseudo-linearity also takes increments δχ of the sensitivity below this, on average over the deeper half of layers."""


SLOPE_SPREAD = 0.06
"""Pseudo-linearity of a φ that is not made of two straight lines: below this share of the variance of φ' is over the data
within channels, the rest between channels. ReLU has it where ν₁⁺ν₁⁻/μ₂ is at its threshold."""


SMALLEST_LOG = -30.0
"""Logarithms of ratios that vanish are cut here, so that an exact zero counts as very small in a geometric mean."""


@dataclass(frozen=True)
class Pathology:
    """A pathology or symptom: its statistic at the deepest layer is beyond the threshold, on the stated side."""

    name: str
    long_name: str
    statistic: str
    symbol: str
    threshold: float
    side: Literal["below", "above"]
    origin: float | None = 0.0
    """The value that it cannot pass below; distances are taken in the logarithm from there. None: it may be any number."""
    judged: Literal["limit", "law", "size"] = "limit"
    """By its limit with depth, by the law of its growth, or by its size at the deepest layer."""


PATHOLOGIES: dict[str, Pathology] = {
    row.name: row
    for row in (
        Pathology(
            "zero_dimensional_signal",
            "the signal contracts to a point: all inputs look alike",
            "variance of the signal over its mean square",
            "μ₂(x)/ν₂(x)",
            0.01,
            "below",
        ),
        Pathology(
            "one_dimensional_signal",
            "the signal contracts to a line",
            "effective rank of the signal",
            "r_eff(x)",
            1.2,
            "below",
            origin=1.0,
        ),
        Pathology(
            "exploding_sensitivity",
            "noise grows exponentially with depth relative to the signal, and drowns it",
            "rate of exponential growth of the sensitivity, per layer",
            "γ",
            0.0,
            "above",
            origin=None,
            judged="law",
        ),
        Pathology(
            "high_sensitivity",
            "noise drowns the signal, however it came to grow",
            "decades of the sensitivity",
            "log₁₀ χ",
            math.log10(HIGH_SENSITIVITY),
            "above",
            origin=None,
            judged="size",
        ),
        Pathology(
            "vanishing_gradient",
            "gradients, or the signal itself, vanish over the depth",
            "decades by which the depth changes noise and squared gradients",
            "Δ log₁₀ μ₂(dx)",
            -GRADIENT_DECADES,
            "below",
            origin=None,
            judged="size",
        ),
        Pathology(
            "exploding_gradient",
            "gradients, or the signal itself, explode over the depth",
            "decades by which the depth changes noise and squared gradients",
            "Δ log₁₀ μ₂(dx)",
            GRADIENT_DECADES,
            "above",
            origin=None,
            judged="size",
        ),
        Pathology(
            "pseudo_linearity",
            "layers act as linear ones: all data meet the activation at the same slope, channel by channel",
            "product of the means of positive and negative parts over the variance",
            "ν₁⁺ν₁⁻/μ₂",
            0.01,
            "below",
        ),
        Pathology(
            "fat_tails",
            "few inputs carry most of the signal",
            "kurtosis of what enters the activation",
            "μ₄(z)",
            6.0,
            "above",
        ),
    )
}
"""The six pathologies, and two symptoms: pseudo-linearity and fat tails (THEORY 6)."""
