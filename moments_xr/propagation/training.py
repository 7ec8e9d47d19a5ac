"""Nets of one shape, trained at once: a layer's weights are one tensor (net, output, input)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from moments_xr.activations import ACTIVATIONS
from moments_xr.inputs import sampler
from moments_xr.propagation.block import resolve_device, resolve_precision
from moments_xr.propagation.weights import draw, draw_weights, gaussian, streams
from moments_xr.recipe import Network, Recipe

Net = tuple[Recipe, int]
"""A recipe without a sweep, and the number of a realization."""

Step = Callable[[torch.Tensor], torch.Tensor]
Layer = Callable[[Network, torch.Tensor, Step, Step, Step], torch.Tensor]
"""What enters a layer, W x + b of its next weights, φ, batch norm -> the output of the layer."""


def _bn_res(network: Network, x: torch.Tensor, affine: Step, phi: Step, norm: Step) -> torch.Tensor:
    branch = x
    for _ in range(network.unit_depth or 0):
        branch = affine(phi(norm(branch)))
    return x + branch


LAYERS: dict[str, Layer] = {
    "vanilla": lambda network, x, affine, phi, norm: phi(affine(x)),
    "bn_ff": lambda network, x, affine, phi, norm: phi(norm(affine(x))),
    "bn_res": _bn_res,
    "res": lambda network, x, affine, phi, norm: x + affine(phi(affine(x))),
}
"""The layers of `propagation.networks`, of the signal alone and to be differentiated (THEORY 1 and 8)."""

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
"""Each moves an entry of a tensor by that entry's own gradients only: nets in one tensor stay independent."""


def draw_nets(nets: Sequence[Net], features: int, classes: int) -> list[torch.Tensor]:
    """Kernels (net, output, input) and biases (net, 1, output) by turns: the embedding, every layer, the read-out.

    Up to the last layer they are those that `run` draws; the read-out is N(0, 1/N). What has no bias there starts from zero.
    """
    drawn = [_draw_net(recipe, realization, features, classes) for recipe, realization in nets]
    return [torch.cat(same) for same in zip(*drawn, strict=True)]


def _draw_net(recipe: Recipe, realization: int, features: int, classes: int) -> list[torch.Tensor]:
    network = recipe.network
    device, dtype = resolve_device(recipe.compute.device), resolve_precision(recipe.compute.precision)
    own = streams(recipe.seed, [realization], device)
    draw(own, (recipe.input.batch, features), 1.0, device)  # the noise of `run`, before whose weights it is drawn
    flow = draw_weights(network, own, features, 0, device, dtype)
    parameters = []
    for _ in range(network.convolutions + 1):
        kernel, bias = next(flow)
        parameters += [kernel, kernel.new_zeros(1, 1, network.width) if bias is None else bias[:, None]]
    readout = gaussian(own, (classes, network.width), 1.0, device).to(dtype)
    return [*parameters, readout, readout.new_zeros(1, 1, classes)]


def logits(network: Network, parameters: Sequence[torch.Tensor], signal: torch.Tensor) -> torch.Tensor:
    """(net, sample, feature) -> (net, sample, class); batch norm takes its statistics over these samples."""
    flow = zip(parameters[::2], parameters[1::2], strict=True)
    phi, layer = ACTIVATIONS[network.activation].torch, LAYERS[network.architecture]
    assert phi is not None

    def affine(x: torch.Tensor) -> torch.Tensor:
        kernel, bias = next(flow)
        return torch.baddbmm(bias, x, kernel.mT)

    def norm(y: torch.Tensor) -> torch.Tensor:
        y = y - y.mean(1, keepdim=True)
        return y / (y.square().mean(1, keepdim=True) + network.epsilon).sqrt()

    x = affine(signal)
    for _ in range(network.depth):
        x = layer(network, x, affine, phi, norm)
    return affine(x)


def losses(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each net over its samples: (net, sample, class) and (net, sample) -> (net,)."""
    return F.cross_entropy(scores.permute(0, 2, 1), labels, reduction="none").mean(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Products of small matrices are shared out to threads at a loss, and on busy cores at a great one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def train_nets(
    nets: Sequence[Net],
    signal: np.ndarray,
    labels: np.ndarray,
    steps: Sequence[int],
    optimiser: str,
    rate: float,
    progress: Callable[[int], None] = lambda step: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Train nets that differ in the laws of their weights and in their realization only.

    A step takes `input.batch` samples; nets of the same realization see the same ones.

    Parameters
    ----------
    nets
        Recipes and realizations.
    signal, labels
        All samples (sample, feature), standardised and scaled, and their classes (sample,).
    steps
        After how many steps to look, increasing; the last ends the training.
    optimiser
        One of `OPTIMISERS`, with its defaults in torch but for the rate.
    rate
        Learning rate.
    progress
        Called with the number of steps done.

    Returns
    -------
    Fraction of all samples that are told right, and loss over all of them: (net, step) each.
    """
    first, _ = nets[0]
    device, dtype = resolve_device(first.compute.device), resolve_precision(first.compute.precision)
    parameters = draw_nets(nets, signal.shape[1], int(labels.max()) + 1)
    mover = OPTIMISERS[optimiser]([tensor.requires_grad_() for tensor in parameters], lr=rate)
    samplers = {(recipe.seed, realization): sampler(recipe.seed, realization) for recipe, realization in nets}
    x, targets = torch.from_numpy(signal).to(device, dtype), torch.from_numpy(labels).to(device)
    every, all_targets = x.expand(len(nets), -1, -1), targets.expand(len(nets), -1)
    seen = []
    for step in range(steps[-1] + 1):
        if step in steps:
            with torch.no_grad():
                scores = logits(first.network, parameters, every)
                right = (scores.argmax(-1) == all_targets).double().mean(1)
                seen.append(torch.stack([right, losses(scores, all_targets).double()]).cpu())
        if step < steps[-1]:
            rows = {key: rng.choice(len(signal), first.input.batch, replace=False) for key, rng in samplers.items()}
            batch = torch.from_numpy(np.stack([rows[recipe.seed, r] for recipe, r in nets])).to(device)
            mover.zero_grad()
            losses(logits(first.network, parameters, x[batch]), targets[batch]).sum().backward()
            mover.step()
            progress(step + 1)
    accuracy, loss = torch.stack(seen, -1).numpy()
    return accuracy, loss
