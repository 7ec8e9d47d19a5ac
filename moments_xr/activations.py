"""Activations: one row each, phi and its derivative, for numpy and (imported inside) for torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _relu_torch(signal: torch.Tensor, noise: torch.Tensor) -> None:
    import torch

    torch.ops.aten.threshold_backward.grad_input(noise, signal, 0.0, grad_input=noise)
    signal.relu_()


@dataclass(frozen=True)
class Activation:
    """An activation phi; `propagate_` replaces, in place, the signal y by phi(y) and the noise dy by phi'(y) dy."""

    name: str
    symbol: str
    phi: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]
    propagate_: Callable[[torch.Tensor, torch.Tensor], None]


ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        Activation(
            "relu",
            "max(y, 0)",
            lambda y: np.maximum(y, 0),
            lambda y: (y > 0).astype(y.dtype),
            _relu_torch,
        ),
    )
}
