import json
import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import make_recipe

import moments_xr as mx
from moments_xr import cube
from moments_xr.quantities import ARCHITECTURES, MOMENTS, pooled_names

SITES = {
    "vanilla": ["input", "conv", "act"],
    "bn_ff": ["input", "conv", "norm", "act"],
    "bn_res": ["input", "norm", "act", "conv", "sum"],
}
MOMENT_NAMES = ["nu1_signal", "nu1_abs_signal", "nu2_signal", "mu2_signal", "mu4_signal", "mu2_noise", "mu4_noise"]
POOLED_NAMES = [
    *MOMENT_NAMES,
    "nu1_plus_minus_signal",
    "mu2_ratio",
    "var_nu2_signal",
    "var_mu2_signal",
    "var_mu2_noise",
]
BY_SITE = ("realization", "layer", "site")
SCHEMA = {
    "channel_moments": ((*BY_SITE, "moment", "channel"), "float32"),
    "pooled_moments": ((*BY_SITE, "pooled_moment"), "float64"),
    "log_signal_scale": (("realization", "layer"), "float64"),
    "log_noise_scale": (("realization", "layer"), "float64"),
    "input_mu2_signal": (("realization",), "float64"),
    "reff_signal": (BY_SITE, "float32"),
    "reff_noise": (BY_SITE, "float32"),
    "branch_log_increment": (("realization", "layer", "branch", "quantity"), "float32"),
    "device": (("realization",), None),
    "done": (("realization",), "bool"),
}
ATTRIBUTES = {
    "recipe",
    "recipe_identity",
    "schema_version",
    "precision",
    "block",
    "moments_xr_version",
    "torch_version",
    "numpy_version",
}


def silently(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments, **options)


def texts(coordinate):
    return [str(value) for value in coordinate.values]


def values_equal(a, b):
    return (
        a.dtype.kind == b.dtype.kind and a.values.tobytes() == b.values.tobytes()
        if a.dtype.kind in "fiub"
        else texts(a) == texts(b)
    )


@pytest.fixture(
    scope="module",
    params=[(name, kernel) for name in SITES for kernel in (1, 3)],
    ids=lambda case: f"{case[0]}-{case[1]}",
)
def stored(request, tmp_path_factory):
    """(architecture, recipe, store) of a run with everything measured."""
    architecture, kernel = request.param
    recipe = make_recipe(architecture, kernel, measure__branches=2, network__depth=4)
    store = tmp_path_factory.mktemp("cube") / "s.zarr"
    mx.run(recipe, store, progress=False)
    return architecture, recipe, store


def test_schema(stored):
    architecture, _, store = stored
    ds = mx.open_cube(store)
    assert set(ds.data_vars) == set(SCHEMA)
    for name, (dims, dtype) in SCHEMA.items():
        assert ds[name].dims == dims
        assert dtype is None or ds[name].dtype == dtype, name
    assert dict(ds.sizes) == {
        "realization": 6, "layer": 2, "site": len(SITES[architecture]), "moment": 7, "pooled_moment": 12, "channel": 12, "branch": 2, "quantity": 3,
    }  # fmt: skip
    assert ds["realization"].values.tolist() == list(range(6))
    assert ds["layer"].values.tolist() == [2, 4]
    assert texts(ds["site"]) == SITES[architecture] == list(ARCHITECTURES[architecture].sites)
    assert texts(ds["moment"]) == MOMENT_NAMES
    assert texts(ds["pooled_moment"]) == POOLED_NAMES
    assert texts(ds["quantity"]) == ["nu2_signal", "mu2_signal", "mu2_noise"]
    assert ds["channel"].values.tolist() == list(range(12))
    assert ds["realization"].dtype.kind == ds["layer"].dtype.kind == ds["channel"].dtype.kind == "i"
    assert ds["done"].all()
    assert set(texts(ds["device"])) <= {"cpu", "cuda"}


def test_coordinates_along_moment(stored):
    ds = mx.open_cube(stored[2])
    assert set(ds.coords) == {*ds.sizes, "symbol", "order", "tensor"}
    rows = [MOMENTS[name] for name in MOMENT_NAMES]
    assert texts(ds["symbol"]) == [row.symbol for row in rows]
    assert ds["order"].values.tolist() == [1, 1, 2, 2, 4, 2, 4]
    assert texts(ds["tensor"]) == ["signal"] * 5 + ["noise"] * 2
    assert all(ds[name].dims == ("moment",) for name in ("symbol", "order", "tensor"))
    assert ds["order"].sel(moment="mu4_noise") == 4


@pytest.mark.parametrize("opener", [xr.open_zarr, mx.open_cube], ids=["plain", "open_cube"])
def test_every_variable_and_coordinate_says_what_it_is(stored, opener):
    ds = opener(stored[2])
    for name, variable in ds.variables.items():
        assert variable.attrs["units"] == "1", name
        assert len(variable.attrs["long_name"]) > 3, name
    assert ds["input_mu2_signal"].attrs["symbol"] == "μ₂(x⁰)"


def test_attributes_of_the_cube(stored):
    _, recipe, store = stored
    attrs = mx.open_cube(store).attrs
    assert set(attrs) == ATTRIBUTES
    made = mx.Recipe.from_json(attrs["recipe"])
    assert made.network == recipe.network
    assert made.identity() == attrs["recipe_identity"] == recipe.identity()
    assert (attrs["schema_version"], attrs["precision"], attrs["block"]) == (1, "float32", 4)
    assert made.compute.device in ("cpu", "cuda")
    assert "auto" not in json.loads(attrs["recipe"])["compute"].values()


def test_everything_measured_is_finite(stored):
    ds = mx.open_cube(stored[2]).load()
    unmeasured = [
        name
        for name, variable in ds.data_vars.items()
        if variable.dtype.kind == "f" and not np.isfinite(variable).all()
    ]
    assert unmeasured == []


def test_a_plain_reader_is_silent_lazy_and_chunked(stored):
    _, _, store = stored
    ds = silently(xr.open_zarr, store)
    sizes = silently(lambda: ds.chunks)
    assert sizes["realization"] == (4, 2)
    assert all(dask.is_dask_collection(variable) for variable in ds.data_vars.values())
    tree = silently(xr.open_datatree, store, engine="zarr")
    assert set(tree.data_vars) == set(SCHEMA)
    assert silently(ds.load).identical(tree.to_dataset().load())


def test_open_cube_is_silent_lazy_and_chunked_by_block(stored):
    ds = silently(mx.open_cube, stored[2])
    assert ds.chunks["realization"] == (4, 2)
    assert ds.chunks["moment"] == (1,) * 7
    assert all(dask.is_dask_collection(variable) for variable in ds.data_vars.values())
    assert not any(dask.is_dask_collection(coordinate) for coordinate in ds.coords.values())


def test_opening_reads_no_data(stored):
    def refuse(*arguments, **options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        assert mx.open_cube(stored[2], complete=False)["pooled_moments"].chunks


def test_a_chunk_of_channels_holds_one_moment_of_one_block(stored):
    encoding = xr.open_zarr(stored[2])["channel_moments"].encoding
    assert encoding["chunks"][0::3] == (4, 1)
    assert encoding["shards"][0::3] == (4, 7)


def test_in_memory_equals_stored(stored):
    _, recipe, store = stored
    there, here = mx.open_cube(store).load(), mx.run(recipe, progress=False)
    assert set(here.variables) == set(there.variables)
    for name in there.variables:
        assert here[name].dims == there[name].dims
        assert here[name].attrs == there[name].attrs
        assert values_equal(here[name], there[name]), name
    assert here.attrs == there.attrs


def test_pooled_moments_are_the_mean_over_channels(stored):
    ds = mx.open_cube(stored[2]).load()
    channels = ds["channel_moments"].astype("f8")
    pooled = ds["pooled_moments"].sel(pooled_moment=MOMENT_NAMES).values
    scale = abs(channels).mean("channel")
    assert (abs(channels.mean("channel") - pooled) <= 1e-6 * scale).all()
    for statistic, moment in (
        ("var_nu2_signal", "nu2_signal"),
        ("var_mu2_signal", "mu2_signal"),
        ("var_mu2_noise", "mu2_noise"),
    ):
        variance = channels.sel(moment=moment).var("channel", ddof=1)
        np.testing.assert_allclose(ds["pooled_moments"].sel(pooled_moment=statistic), variance, rtol=1e-4)


def test_means_over_channels_only(small):
    full, mean = mx.run(small(), progress=False), mx.run(small(measure__channels="mean"), progress=False)
    absent = {"channel_moments", "channel", "moment", "symbol", "order", "tensor"}
    assert set(full.variables) - set(mean.variables) == absent
    assert full["pooled_moments"].identical(mean["pooled_moments"])


def test_layers_measured(small):
    all_layers = mx.run(small(measure__every=1), progress=False)
    for every, layers in [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4]), (5, [5]), (6, [6])]:
        some = mx.run(small(measure__every=every), progress=False)
        assert some["layer"].values.tolist() == layers
        for name in ("channel_moments", "pooled_moments", "log_noise_scale", "reff_noise"):
            assert values_equal(some[name], all_layers[name].sel(layer=layers)), name


def test_moments_selected(small):
    chosen = ["nu1_abs_signal", "mu2_signal", "mu2_noise"]
    some, everything = mx.run(small(measure__moments=chosen[::-1]), progress=False), mx.run(small(), progress=False)
    assert texts(some["moment"]) == chosen
    assert texts(some["pooled_moment"]) == [*chosen, "mu2_ratio", "var_mu2_signal", "var_mu2_noise"]
    assert some["order"].values.tolist() == [1, 2, 2]
    assert values_equal(some["channel_moments"], everything["channel_moments"].sel(moment=chosen))


def test_sites_selected(small):
    everything = mx.run(small(), progress=False)
    for chosen in (["act"], ["act", "input"], ["norm", "conv"]):
        some = mx.run(small(measure__sites=chosen), progress=False)
        in_the_flow = [site for site in SITES["bn_ff"] if site in chosen]
        assert texts(some["site"]) == in_the_flow
        for name in ("channel_moments", "pooled_moments", "reff_signal"):
            assert values_equal(some[name], everything[name].sel(site=in_the_flow)), name


@pytest.mark.parametrize("ranks", [[], ["signal"], ["noise"], ["signal", "noise"]], ids=len)
def test_effective_ranks_not_measured_are_nan(small, ranks, tmp_path):
    ds = mx.run(small(measure__effective_rank=ranks), tmp_path / "s.zarr", progress=False).load()
    for tensor in ("signal", "noise"):
        rank = ds[f"reff_{tensor}"]
        assert rank.dims == BY_SITE
        assert (rank.notnull() == (tensor in ranks)).all()


def test_no_branches_no_increments_of_branches(small):
    ds = mx.run(small(), progress=False)
    assert not {"branch", "quantity", "branch_log_increment"} & set(ds.variables)


def test_precision_is_of_the_computation_not_of_the_schema(small):
    single, double = (
        mx.run(small(compute__precision=precision), progress=False) for precision in ("float32", "float64")
    )
    assert {name: variable.dtype for name, variable in single.variables.items()} == {
        name: variable.dtype for name, variable in double.variables.items()
    }
    assert (single.attrs["precision"], double.attrs["precision"]) == ("float32", "float64")
    np.testing.assert_allclose(double["pooled_moments"], single["pooled_moments"], rtol=1e-3, atol=1e-6)
    assert not values_equal(double["pooled_moments"], single["pooled_moments"])


def test_template_has_the_variables_of_a_block(small):
    from moments_xr.propagation.block import compute_block

    for changes in ({}, {"measure__channels": "mean"}, {"measure__branches": 2}, {"measure__moments": ["nu2_signal"]}):
        recipe = small(**changes)
        arrays = cube.complete(compute_block(recipe, range(4)), "cpu")
        assert set(arrays) == set(cube.names(recipe))
        for name, array in arrays.items():
            assert array.shape == cube.shape(recipe, name, 4), name
            assert array.dtype == np.dtype(cube.VARIABLES[name].dtype), name
        empty = cube.empty(recipe, 6, 4, {})
        labelled = cube.label(recipe, arrays, range(4))
        assert {name: variable.dims for name, variable in empty.variables.items()} == {
            name: v.dims for name, v in labelled.variables.items()
        }
        assert not empty["done"].any()
        assert np.isnan(empty["pooled_moments"]).all()


def test_pooled_names_need_their_moments():
    assert list(pooled_names(tuple(MOMENTS))) == POOLED_NAMES
    assert pooled_names(("nu2_signal",)) == ("nu2_signal", "var_nu2_signal")
    assert pooled_names(("mu4_noise", "nu1_signal")) == ("nu1_signal", "mu4_noise")
