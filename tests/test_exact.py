"""Given the weights and inputs that the 2019 code drew, every moment equals that code's (tests/data/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import moments_xr as mx
from moments_xr.quantities import ARCHITECTURES

DATA = Path(__file__).parent / "data" / "exact"
NETS = {
    "conv_bn_ff_periodic": ("bn_ff", "periodic"),
    "conv_bn_res_periodic": ("bn_res", "periodic"),
    "conv_vanilla_symmetric": ("vanilla", "symmetric"),
    "fc_bn_ff": ("bn_ff", "periodic"),
}
MOMENTS = ["nu1_abs_signal", "nu2_signal", "mu2_signal", "mu4_signal", "mu2_noise"]


def propagate(name: str, precision: str) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    file = dict(np.load(DATA / f"{name}.npz", allow_pickle=False))
    architecture, boundary = NETS[name]
    sims = [key.split("_")[0] for key in file if key.endswith("_kernel_first")]
    first, rest = (np.stack([file[f"{sim}_{key}"] for sim in sims]) for key in ("kernel_first", "kernels"))
    kernels = [np.moveaxis(k, -1, 1) for k in (first, *rest.swapaxes(0, 1))]  # (…, in, out) there, (out, …, in) here
    signal, noise = (np.stack([file[f"{sim}_{key}"] for sim in sims]) for key in ("signal", "noise"))
    if first.shape[1] == 1:
        kernels = [k[:, :, 0, 0] for k in kernels]
        signal, noise = signal[:, :, 0, 0], noise[:, :, 0, 0]
    depth = len(file["moments_depth"])
    network = {
        "architecture": architecture,
        "depth": depth,
        "width": first.shape[-1],
        "kernel": first.shape[1],
        "boundary": boundary,
    }
    measure = {"effective_rank": ["signal", "noise"]}
    return mx.propagate(network, signal, noise, kernels, measure=measure, compute={"precision": precision}), file


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_every_moment_equals_the_2019_codes(name, precision):
    ds, file = propagate(name, precision)
    tolerance = 2e-3 if name == "fc_bn_ff" else 1e-5
    compared = 0
    for loc, site in enumerate(ARCHITECTURES[NETS[name][0]].sites, 1):
        for moment in MOMENTS:
            expected = file[f"moments_{moment}_loc{loc}"]
            np.testing.assert_allclose(
                mx.get(ds, moment).sel(site=site), expected, rtol=tolerance, err_msg=f"{moment} at {site}"
            )
            compared += 1
        # chi there supposes unit variance of the input, which float32 data have to 1e-5
        np.testing.assert_allclose(mx.chi(ds).sel(site=site), file[f"moments_chi_loc{loc}"], rtol=tolerance + 1e-5)
        for tensor in ("signal", "noise"):
            expected = file[f"moments_reff_{tensor}_loc{loc}"]
            if (expected != -1).all():
                rank = mx.effective_rank(ds, tensor).sel(site=site)
                np.testing.assert_allclose(
                    rank, expected, rtol=max(tolerance, 3e-5), err_msg=f"rank of {tensor} at {site}"
                )
                compared += 1
    assert compared >= 5 * 3 + 2


def test_the_phase_of_the_embedding_matters():
    """A centred circular padding would change the noise by far more than the tolerance above: the phase is tested."""
    ds, file = propagate("conv_bn_ff_periodic", "float64")
    first = np.stack([file["sim0_signal"], file["sim1_signal"]])
    shifted = mx.propagate(
        {"architecture": "bn_ff", "depth": 10, "width": 8, "kernel": 3},
        np.roll(first, 1, axis=(2, 3)),
        np.stack([file["sim0_noise"], file["sim1_noise"]]),
        [
            np.moveaxis(k, -1, 1)
            for k in (
                np.stack([file["sim0_kernel_first"], file["sim1_kernel_first"]]),
                *np.stack([file["sim0_kernels"], file["sim1_kernels"]], 1),
            )
        ],
    )
    assert (
        np.abs(
            mx.get(shifted, "mu2_signal").sel(site="conv", layer=1) / mx.get(ds, "mu2_signal").sel(site="conv", layer=1)
            - 1
        ).max()
        > 1e-3
    )


@pytest.mark.parametrize("scale", [0.25, 8.0])
def test_a_homogeneous_net_takes_a_scaled_input_out(scale):
    """ReLU, a power of two: the same bits, but for the scale itself; the noise and χ's two ends are as they were."""
    changes = {"realizations": 2, "network.architecture": "vanilla", "network.depth": 4, "network.width": 32}
    one, other = (
        mx.run(mx.recipe("quickstart", {**changes, "input.scale": factor}), progress=False) for factor in (1.0, scale)
    )
    np.testing.assert_array_equal(other.input_mu2_signal, scale**2 * one.input_mu2_signal)
    difference = mx.get(other, "nu2_signal", log=True) - mx.get(one, "nu2_signal", log=True)
    np.testing.assert_allclose(difference, 2 * np.log(scale), rtol=1e-12)
    np.testing.assert_array_equal(mx.get(other, "mu2_noise"), mx.get(one, "mu2_noise"))
    log_ratio = mx.chi(other, log=True) - mx.chi(one, log=True)
    np.testing.assert_allclose(log_ratio, 0.0, atol=1e-12)


def test_given_data_are_scaled_too():
    data = np.random.default_rng(0).normal(size=(40, 6))
    changes = {"realizations": 2, "network.depth": 2, "network.width": 8, "input.batch": 16, "input.scale": 0.5}
    recipe = mx.recipe("quickstart", changes)
    alone = mx.run(recipe, data=data, progress=False)
    np.testing.assert_allclose(alone.input_mu2_signal, 0.25, rtol=1e-5)
    assert mx.Recipe.from_json(alone.attrs["recipe"]).input.scale == 0.5
    swept = mx.run(recipe.replace({"sweep": {"input.scale": [0.5, 1.0]}}), data=data, progress=False)
    np.testing.assert_array_equal(swept["input.scale=0.5"]["input_mu2_signal"], alone.input_mu2_signal)
