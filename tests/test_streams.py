"""Random streams: one a realization, whatever the block; measuring draws from others."""

import numpy as np
import pytest
import torch
from scipy import stats

import moments_xr as mx
from moments_xr.propagation.block import propagate_block, resolve_device
from moments_xr.propagation.weights import Convolution, draw, draw_weights, streams

CPU = torch.device("cpu")


def test_draws_are_standard_normal_and_independent_between_streams():
    values = draw(streams(0, range(4), CPU), (50_000,), 1.0, CPU).numpy().astype("f8")
    for row in values:
        assert stats.kstest(row, "norm").pvalue > 1e-4
    correlation = np.corrcoef(values) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(50_000)
    assert abs(stats.kurtosis(values.ravel())) < 5 * np.sqrt(24 / values.size)


def test_seeds_that_share_their_low_bits_differ():
    """torch's CPU generator drops the high 32 bits of its seed; the streams must not."""
    one, two = (draw(streams(seed, [0], CPU), (8,), 1.0, CPU) for seed in (7, 7 + 2**32))
    assert not torch.equal(one, two)


def test_streams_of_a_thousand_realizations_are_distinct():
    first = draw(streams(1, range(1000), CPU), (4,), 1.0, CPU)
    assert len({tuple(row.tolist()) for row in first}) == 1000


def test_a_stream_does_not_depend_on_its_companions():
    together = draw(streams(3, range(5), CPU), (16, 3), 0.5, CPU)
    alone = draw(streams(3, [4], CPU), (16, 3), 0.5, CPU)
    assert torch.equal(together[4], alone[0])


@pytest.mark.parametrize(("kernel", "fan_in"), [(1, 40), (3, 9 * 40)])
def test_weights_have_the_law_of_the_recipe(small, kernel, fan_in):
    network = small(kernel=kernel, network__width=40, network__weights={"law": "gaussian", "variance": 1.5}).network
    own = streams(0, range(6), CPU)
    weights = draw_weights(network, own, 40, 0 if kernel == 1 else 2, CPU, torch.float32)
    embedding, convolution = (next(weights)[0].numpy() for _ in range(2))
    for drawn, variance in ((embedding, 1 / fan_in), (convolution, 1.5 / fan_in)):
        assert abs(drawn.var() / variance - 1) < 5 * np.sqrt(2 / drawn.size)
        assert abs(drawn.mean()) < 5 * np.sqrt(variance / drawn.size)


def test_biases_have_the_law_of_the_recipe_and_follow_the_rescaled_signal(small):
    """With σ_w² = 1.5 and σ_b² = 0.5, ReLU: q^l = ½ σ_w² q^{l−1} + σ_b² → 2, however the signal is rescaled inside."""
    recipe = small(
        "vanilla", realizations=30, network__width=200, network__depth=40, network__bias_variance=0.5,
        network__weights={"law": "gaussian", "variance": 1.5}, measure__every=20, measure__effective_rank=[], input__batch=2,
        compute__block=30,
    )  # fmt: skip
    q = mx.get(mx.run(recipe, progress=False), "nu2_signal").sel(site="conv", layer=40)
    assert abs(q.mean() - 2.0) < 5 * q.std() / np.sqrt(30) + 0.02


@pytest.mark.parametrize("changes", [{"measure__every": 1}, {"measure__branches": 3}, {"measure__channels": "mean"}])
def test_measuring_never_changes_the_draws(small, changes):
    plain, other = (mx.run(small(**{"measure__every": 3} | extra), progress=False) for extra in ({}, changes))
    layers = np.intersect1d(plain.layer, other.layer)
    np.testing.assert_array_equal(plain.pooled_moments.sel(layer=layers), other.pooled_moments.sel(layer=layers))


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff", "bn_res", "res"])
def test_a_branch_with_the_realised_weights_gives_the_realised_increment(small, architecture):
    recipe = small(architecture, measure__every=1, measure__branches=2)
    network, rng = recipe.network, torch.Generator().manual_seed(0)
    signal, noise = torch.randn(2, 3, 8, 20, generator=rng)
    kernels = [torch.randn(3, 12, 12 if i else 20, generator=rng) / 3 for i in range(network.convolutions + 1)]
    unit = network.convolutions // network.depth

    def redraw(layer):
        start = 1 + (layer - 1) * unit
        while True:
            yield from (Convolution(kernel) for kernel in kernels[start : start + unit])

    arrays = propagate_block(recipe, signal, noise, iter([Convolution(k) for k in kernels]), redraw)
    from moments_xr.cube import label

    ds = label(recipe, arrays, range(3))
    for quantity in ds["quantity"].values:
        realised = mx.increments(ds, str(quantity), log=True)
        for branch in (0, 1):
            np.testing.assert_allclose(
                ds.branch_log_increment.sel(branch=branch, quantity=quantity), realised, rtol=1e-4, atol=1e-5
            )


def test_branches_are_redraws_of_the_realised_layer(small):
    """Over realizations, the realised log-increment and each branch's have the same mean and variance."""
    recipe = small(
        "vanilla", realizations=400, network__depth=4, measure__every=2, measure__branches=2, compute__block=200
    )
    ds = mx.run(recipe, progress=False)
    realised = mx.increments(ds, "nu2_signal", log=True)
    redrawn = ds.branch_log_increment.sel(quantity="nu2_signal")
    assert np.unique(redrawn.isel(realization=0)).size == redrawn.isel(realization=0).size
    for branch in (0, 1):
        difference = (redrawn.sel(branch=branch) - realised).values
        assert (np.abs(difference.mean(0)) < 4.5 * difference.std(0) / 20).all()
        assert (np.abs(redrawn.sel(branch=branch).var("realization") / realised.var("realization") - 1) < 0.6).all()


def test_devices():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="cuda:99"):
        resolve_device("cuda:99")
