"""Activations: one row each, phi and its derivative, for numpy and (imported inside) for torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from moments_xr.errors import RequestError

if TYPE_CHECKING:
    import torch

Function = Callable[[np.ndarray], np.ndarray]

LEAK = 0.01
"""Slope of the leaky ReLU below zero."""

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""λ and α of Klambauer et al. 2017, for which unit variance is a fixed point of weights of variance 1/fan_in."""


@dataclass(frozen=True)
class Activation:
    """An activation φ.

    `phi` and `derivative` take and return numpy arrays; φ and φ' are smooth but at `kinks`; `homogeneous` says that
    φ(a y) = a φ(y) for every a > 0. `torch` is φ for tensors; without it the activation is of use to theory only.
    """

    name: str
    symbol: str
    phi: Function
    derivative: Function
    kinks: tuple[float, ...] = ()
    homogeneous: bool = False
    torch: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def lines(self) -> int | None:
        """Of how many straight lines from zero φ is made: 1 if it is linear, 2 as ReLU is; None if it is curved."""
        return 1 + len(self.kinks) if self.homogeneous else None


def _torch(name: str, *arguments: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of torch by its dotted name; torch is imported when it is called."""

    def call(signal: torch.Tensor) -> torch.Tensor:
        from functools import reduce

        import torch

        function: Any = reduce(getattr, name.split("."), torch)
        return function(signal, *arguments)

    return call


def _normal_density(y: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * y * y) / np.sqrt(2 * np.pi)


def _exponential_below(y: np.ndarray) -> np.ndarray:
    """e^y below zero; 1 above, where it could overflow."""
    return np.exp(np.minimum(y, 0))


ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        Activation("linear", "y", lambda y: y, np.ones_like, homogeneous=True, torch=_torch("clone")),
        Activation(
            "relu",
            "max(y, 0)",
            lambda y: np.maximum(y, 0),
            lambda y: (y > 0).astype(y.dtype),
            kinks=(0,),
            homogeneous=True,
            torch=_torch("relu"),
        ),
        Activation(
            "leaky_relu",
            f"max(y, {LEAK:g} y)",
            lambda y: np.maximum(y, LEAK * y),
            lambda y: np.where(y > 0, 1, LEAK).astype(y.dtype),
            kinks=(0,),
            homogeneous=True,
            torch=_torch("nn.functional.leaky_relu", LEAK),
        ),
        Activation("tanh", "tanh y", np.tanh, lambda y: 1 - np.tanh(y) ** 2, torch=_torch("tanh")),
        Activation(
            "hard_tanh",
            "min(max(y, −1), 1)",
            lambda y: np.clip(y, -1, 1),
            lambda y: (abs(y) < 1).astype(y.dtype),
            kinks=(-1, 1),
            torch=_torch("nn.functional.hardtanh"),
        ),
        Activation(
            "erf",
            "erf y",
            special.erf,
            lambda y: 2 / np.sqrt(np.pi) * np.exp(-y * y),
            torch=_torch("erf"),
        ),
        Activation(
            "elu",
            "y above 0, eʸ − 1 below",
            lambda y: np.where(y > 0, y, np.expm1(np.minimum(y, 0))),
            lambda y: _exponential_below(y),
            kinks=(0,),
            torch=_torch("nn.functional.elu"),
        ),
        Activation(
            "selu",
            "λy above 0, λα(eʸ − 1) below",
            lambda y: SELU_SCALE * np.where(y > 0, y, SELU_ALPHA * np.expm1(np.minimum(y, 0))),
            lambda y: SELU_SCALE * np.where(y > 0, 1, SELU_ALPHA * _exponential_below(y)),
            kinks=(0,),
            torch=_torch("nn.functional.selu"),
        ),
        Activation(
            "gelu",
            "y Φ(y)",
            lambda y: y * special.ndtr(y),
            lambda y: special.ndtr(y) + y * _normal_density(y),
            torch=_torch("nn.functional.gelu"),
        ),
        Activation(
            "silu",
            "y/(1 + e⁻ʸ)",
            lambda y: y * special.expit(y),
            lambda y: special.expit(y) * (1 + y * special.expit(-y)),
            torch=_torch("nn.functional.silu"),
        ),
    )
}

ALIASES = {"swish": "silu", "identity": "linear"}
"""Other names by which recipes and theory know an activation."""

DIFFERENCE = np.finfo("f8").eps ** (1 / 3)
"""Step of a numerical derivative: central differences are then good to about 1e-10."""


def activation(of: str | Activation | Function, derivative: Function | None = None) -> Activation:
    """The activation of this name; an `Activation` as it is; or any elementwise φ, made into one.

    Parameters
    ----------
    of
        A name of `ACTIVATIONS` (or of `ALIASES`), an `Activation`, or a function of numpy arrays, elementwise.
    derivative
        φ' of a function; central differences, good to about ten digits where φ is smooth, if not given.

    Raises
    ------
    RequestError
        There is no activation of this name.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.activations import activation
    >>> activation("tanh").symbol
    'tanh y'
    >>> activation(np.sin).derivative(np.zeros(1)).round(6).tolist()
    [1.0]
    """
    if isinstance(of, Activation):
        return of
    if isinstance(of, str):
        name = ALIASES.get(of, of)
        if name not in ACTIVATIONS:
            raise RequestError(f"'{of}' is not an activation; there are {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[name]
    phi = of

    def difference(y: np.ndarray) -> np.ndarray:
        step = DIFFERENCE * np.maximum(1, abs(y))
        return (phi(y + step) - phi(y - step)) / (2 * step)

    name = getattr(phi, "__name__", "function")
    return Activation(name, f"{name}(y)", phi, derivative or difference)
