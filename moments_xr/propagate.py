"""The entry with explicit inputs and weights: what `run` does to a block, made public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from moments_xr import cube
from moments_xr.analysis.network import facts
from moments_xr.errors import RequestError
from moments_xr.recipe import IN_MEMORY, Network, Recipe

LAWS = ("weight_law", "weight_variance", "bias_variance")
"""Facts that weights given as arrays do not tell."""


def propagate(
    network: Network | Mapping[str, Any],
    signal: Any,
    noise: Any,
    weights: Sequence[Any] | None = None,
    *,
    biases: Sequence[Any] | None = None,
    seed: int = 0,
    measure: Mapping[str, Any] | None = None,
    compute: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Propagate given inputs through given (or drawn) weights: the entry that `run` uses, made public.

    Parameters
    ----------
    network
        As in a recipe.
    signal, noise
        (realization, sample, *space, channel); without spatial axes when `kernel` is 1. The signal is taken as it is:
        it is not standardised.
    weights
        Kernels (realization, output, *kernel, input) in order of use, the embedding first, then one for each
        convolution; drawn from `seed` if not given.
    biases
        (realization, output) for each convolution after the embedding.
    seed
        Of what is drawn: weights that are not given, masks of dropout.
    measure, compute
        As in a recipe.

    Returns
    -------
    The cube of these realizations, with the facts of its network as attributes; of given weights the law is not known.

    Raises
    ------
    RecipeError
        A key of the network breaks a rule.
    RequestError
        A shape does not fit, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import moments_xr as mx
    >>> rng = np.random.default_rng(0)
    >>> x, dx = rng.normal(size=(2, 100, 8, 20))
    >>> network = {"architecture": "vanilla", "depth": 5, "width": 16, "kernel": 1}
    >>> mx.propagate(network, x, dx).sizes["realization"]
    100
    """
    import torch

    from moments_xr.propagation.block import propagate_block, resolve_device, resolve_precision
    from moments_xr.propagation.weights import draw_weights, redraws, streams, with_dropout

    signal, noise = np.asarray(signal), np.asarray(noise)
    values = network.model_dump(exclude_unset=True) if isinstance(network, Network) else dict(network)
    if signal.shape != noise.shape:
        raise RequestError(f"noise: shape {noise.shape} differs from the signal's, {signal.shape}")
    flat = values.get("kernel") == 1
    if not (signal.ndim == 3 if flat else 4 <= signal.ndim <= 6):
        wanted = (
            "(realization, sample, channel)" if flat else "(realization, sample, *space, channel), 1 to 3 spatial axes"
        )
        raise RequestError(
            f"signal: shape {signal.shape} needs to be {wanted}, since the kernel is {values.get('kernel')}"
        )
    for name, array in (("signal", signal), ("noise", noise)):
        if not np.isfinite(array).all():
            raise RequestError(f"{name}: holds values that are not finite")
    realizations, batch, *sample = signal.shape
    recipe = Recipe(
        name="propagate",
        seed=seed,
        realizations=realizations,
        input={"dataset": "array", "path": IN_MEMORY, "batch": max(batch, 2)},
        network=values,
        measure=dict(measure or {}),
        compute=dict(compute or {}),
    )
    device, dtype = resolve_device(recipe.compute.device), resolve_precision(recipe.compute.precision)
    dimensions = len(sample) - 1
    if weights is None:
        own = streams(seed, range(realizations), device)
        flow = draw_weights(recipe.network, own, sample[-1], dimensions, device, dtype)
    else:
        kernels = _checked_kernels(recipe.network, weights, realizations, sample)
        shifts = [None, *(biases if biases is not None else [None] * recipe.network.convolutions)]
        flow = (
            (
                torch.as_tensor(kernel).to(device, dtype),
                None if bias is None else torch.as_tensor(bias).to(device, dtype),
            )
            for kernel, bias in zip(kernels, shifts, strict=True)
        )

    redraw = redraws(recipe.network, seed, range(realizations), dimensions, device, dtype)
    x, dx = (torch.as_tensor(array).to(device, dtype) for array in (signal, noise))
    dropping = with_dropout(flow, recipe.network, seed, range(realizations), device)
    arrays = propagate_block(recipe, x, dx, dropping, redraw)
    known = {name: value for name, value in facts(recipe).items() if weights is None or name not in LAWS}
    attrs = known | {"dimensions": 0 if flat else dimensions, "schema_version": cube.SCHEMA_VERSION}
    return cube.label(recipe, cube.complete(arrays, device.type), range(realizations), attrs)


def _checked_kernels(
    network: Network, weights: Sequence[Any], realizations: int, sample: Sequence[int]
) -> list[np.ndarray]:
    kernels = [np.asarray(kernel) for kernel in weights]
    if len(kernels) != network.convolutions + 1:
        raise RequestError(
            f"weights: {len(kernels)} kernels, but the network has an embedding and {network.convolutions} convolutions"
        )
    taps = (network.kernel,) * (len(sample) - 1)
    for i, kernel in enumerate(kernels):
        wanted = (realizations, network.width, *taps, network.width if i else sample[-1])
        if kernel.shape != wanted:
            raise RequestError(
                f"weights: kernel {i} has shape {kernel.shape}, needs (realization, output, *kernel, input) = {wanted}"
            )
    return kernels
