"""Results of the 2019 code as cubes; what is expected is computed from the raw arrays."""

import io
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import moments_xr as mx
from moments_xr import cube, npz
from moments_xr.npz import MomentsDnnsBackend, NpzError, open_npz

DATA = Path(__file__).parent / "data"
BN_FF, VANILLA, HISTO = (DATA / f"{name}.npz" for name in ("bn_ff_fc_64", "vanilla_fc", "vanilla_histo_fc"))
BN_RES, BN_RES_EXACT = DATA / "bn_res_raw.npz", DATA / "exact" / "conv_bn_res_periodic.npz"
VANILLA_EXACT, BN_FF_EXACT = DATA / "exact" / "conv_vanilla_symmetric.npz", DATA / "exact" / "fc_bn_ff.npz"
FILES = {
    BN_FF: "bn_ff",
    VANILLA: "vanilla",
    HISTO: "vanilla",
    BN_RES: "bn_res",
    BN_RES_EXACT: "bn_res",
    VANILLA_EXACT: "vanilla",
    BN_FF_EXACT: "bn_ff",
}
RAW = npz.UNPRUNED

pytestmark = pytest.mark.filterwarnings("error")
x86 = pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="long doubles of x86 Linux")
over_files = pytest.mark.parametrize(
    ("file", "architecture"), FILES.items(), ids=lambda value: getattr(value, "stem", value)
)


@pytest.fixture
def save(tmp_path):
    """Write an .npz file; `depth` is 1, 2 … unless given (None: leave it out)."""

    def write(compressed=False, name="file.npz", **arrays):
        if "depth" not in arrays:
            arrays["depth"] = np.arange(1, np.shape(next(iter(arrays.values())))[-1] + 1)
        arrays = {key: value for key, value in arrays.items() if value is not None}
        (np.savez_compressed if compressed else np.savez)(tmp_path / name, **arrays)
        return tmp_path / name

    return write


def raw(file):
    with np.load(file, allow_pickle=False) as arrays:
        return {key.removeprefix("moments_"): arrays[key] for key in arrays.files if not key.startswith("sim")}


@x86
def test_vanilla_increments_and_ranks():
    arrays, ds = raw(VANILLA), open_npz(VANILLA, "vanilla")
    assert ds.site.values.tolist() == ["input", "act"]
    np.testing.assert_array_equal(ds.layer, arrays["depth"])
    increments = ds.moments.increments("chi", by="layer")
    np.testing.assert_allclose(increments, arrays["chi_loc3"] / arrays["chi_loc1"], rtol=1e-13)
    np.testing.assert_allclose(ds.moments.effective_rank().sel(site="act"), arrays["reff_signal_loc3"], rtol=1e-6)
    assert ds.moments.effective_rank().sel(site="input").isnull().all()
    published = [1.147, 1.041, 1.014, 1.001], [5.56, 2.81, 1.67, 1.16]
    depths = ds.sel(layer=[2, 10, 20, 50]).mean("realization")
    np.testing.assert_allclose(increments.mean("realization").sel(layer=depths.layer), published[0], atol=0.01)
    np.testing.assert_allclose(depths.reff_signal.sel(site="act"), published[1], rtol=0.1)


@x86
def test_bn_ff_increments_ranks_and_moments():
    arrays, ds = raw(BN_FF), open_npz(BN_FF, "bn_ff")
    assert ds.site.values.tolist() == ["input", "norm", "act"]
    assert ds.pooled_moment.values.tolist() == ["nu1_abs_signal", "mu4_signal"]
    steps = ds.moments.increments("chi", by="step")
    np.testing.assert_allclose(steps.sel(step="bn"), arrays["chi_loc3"] / arrays["chi_loc1"], rtol=1e-12)
    np.testing.assert_allclose(steps.sel(step="act"), arrays["chi_loc4"] / arrays["chi_loc3"], rtol=1e-12)
    np.testing.assert_allclose(ds.moments.chi().sel(site="act"), arrays["chi_loc4"], rtol=1e-13)
    np.testing.assert_array_equal(ds.moments.mu4().sel(site="norm"), arrays["mu4_signal_loc3"].astype("f8"))
    np.testing.assert_array_equal(ds.moments.nu1_abs().sel(site="norm"), arrays["nu1_abs_signal_loc3"].astype("f8"))
    np.testing.assert_array_equal(ds.reff_noise.sel(site="act"), arrays["reff_noise_loc4"].astype("f4"))
    deep = ds.sel(layer=slice(101, None)).moments
    assert float(deep.increments("chi").mean()) == pytest.approx(1.2296, abs=0.001)
    assert float(deep.increments("chi", by="step").sel(step="bn").mean()) == pytest.approx(1.0250, abs=0.001)
    assert float(deep.effective_rank().sel(site="act").mean()) == pytest.approx(10.2, abs=0.5)
    assert float(deep.mu4().sel(site="norm").mean()) == pytest.approx(3.72, abs=0.1)
    assert float(deep.nu1_abs().sel(site="norm").mean()) == pytest.approx(0.780, abs=0.003)


@x86
def test_lognormal_moments():
    arrays, ds = raw(HISTO), open_npz(HISTO, "vanilla")
    for name in ("nu2_signal", "mu2_noise"):
        expected = np.log(arrays[f"{name}_loc3"])
        np.testing.assert_allclose(ds.moments.get(name, log=True).sel(site="act"), expected, rtol=1e-12, atol=1e-15)
    mean = ds.moments.nu2(log=True).sel(site="act").mean("realization")
    np.testing.assert_allclose(mean, [-0.858, -1.851, -2.830, -3.820], atol=0.6)
    assert ds.moments.alive().all()


@x86
@over_files
def test_every_value_is_where_it_belongs(file, architecture):
    arrays, ds = raw(file), open_npz(file, architecture)
    compared = 0
    for key, array in arrays.items():
        name, _, location = key.rpartition("_loc")
        if not name:
            continue
        site = mx.quantities.ARCHITECTURES[architecture].sites[int(location) - 1]
        expected = np.where(array == -1, np.nan, array)
        actual = ds.moments.get(name).sel(site=site)
        np.testing.assert_allclose(actual, expected, rtol=1e-6 if name.startswith("reff") else 1e-12, err_msg=key)
        compared += 1
    assert compared == sum("_loc" in key for key in arrays)
    assert ds.moments.summary(layers=ds.layer.values[-1:]).sizes["layer"] == 1 if file != BN_RES else True


@x86
@over_files
def test_schema(file, architecture):
    ds = open_npz(file, architecture)
    lengths = {"realization": len(ds.realization), "layer": len(ds.layer), "site": len(ds.site)}
    for name, variable in ds.data_vars.items():
        row = npz.LOG_CHI if name == "log_chi" else cube.VARIABLES[name]
        assert variable.dims == row.dims
        assert variable.dtype == row.dtype
        assert variable.shape[: len(lengths)] == tuple(lengths.values())[: variable.ndim]
    for name, variable in ds.variables.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"] == "1", name
    assert ds.done.all()
    assert (ds.input_mu2_signal == 1).all()
    np.testing.assert_array_equal(ds.realization, np.arange(lengths["realization"]))
    assert ds.attrs["architecture"] == architecture
    assert ds.attrs["schema_version"] == cube.SCHEMA_VERSION
    assert ds.attrs["source"] == file.name
    assert ds.attrs.get("unit_depth") == (2 if architecture == "bn_res" else None)
    json.dumps(ds.attrs)


@x86
def test_unpruned_file():
    ds = open_npz(BN_RES)
    assert ds.site.values.tolist() == ["input", "norm", "act", "conv", "sum"]
    assert ds.pooled_moment.values.tolist() == list(RAW)
    assert {"reff_signal", "reff_noise", "log_chi", "log_signal_scale", "log_noise_scale"} <= set(ds)


def test_minus_one_is_nan(save):
    file = save(nu2_signal_loc3=np.array([[2.0, -1.0], [0.0, 3.0]]), chi_loc3=np.array([[-1.0, 2.0], [1.0, -1.0]]))
    ds = open_npz(file, "vanilla").sel(site="act")
    np.testing.assert_array_equal(ds.moments.nu2(), [[2, np.nan], [0, 3]])
    np.testing.assert_array_equal(ds.moments.chi(), [[np.nan, 2], [1, np.nan]])


@x86
def test_beyond_float64(save):
    large, small = np.longdouble("1e400"), np.longdouble("1e-400")
    noise = np.array([[1, large, large**2]])
    signal = np.array([[1, small, 1]], np.longdouble)
    file = save(
        chi_loc3=noise,
        mu2_noise_loc3=noise,
        mu2_noise_loc2=2 * noise,
        nu1_abs_signal_loc3=signal,
        mu2_signal_loc3=signal**2,
        mu4_signal_loc3=3 * signal**4,
    )
    ds = open_npz(file, "vanilla")
    logs = np.log(10) * np.array([[0, 400, 800]])
    np.testing.assert_allclose(ds.moments.chi(log=True).sel(site="act"), logs, rtol=1e-15)
    np.testing.assert_allclose(ds.moments.get("mu2_noise", log=True).sel(site="act"), logs, rtol=1e-14)
    np.testing.assert_allclose(ds.moments.get("mu2_noise", log=True).sel(site="conv"), logs + np.log(2), rtol=1e-14)
    fall = np.log(10) * np.array([[0, -400, 0]])
    np.testing.assert_allclose(ds.moments.get("nu1_abs_signal", log=True).sel(site="act"), fall, rtol=1e-14)
    np.testing.assert_allclose(ds.moments.get("mu2_signal", log=True).sel(site="act"), 2 * fall, rtol=1e-14)
    np.testing.assert_allclose(ds.moments.get("mu4_signal", log=True).sel(site="act"), 4 * fall + np.log(3), rtol=1e-14)
    assert (ds.log_noise_scale.values != 0).tolist() == [[False, True, True]]
    assert (ds.log_signal_scale.values != 0).tolist() == [[False, True, False]]
    exponents = ds.log_noise_scale / np.log(2)
    np.testing.assert_allclose(exponents, np.rint(exponents), atol=1e-9)


def test_dead_and_overflown_sensitivity(save):
    ds = open_npz(save(chi_loc3=np.array([[1.0, np.nan, np.inf, 0.0]])), "vanilla").sel(site="act")
    np.testing.assert_array_equal(ds.log_chi, [[0, np.nan, np.nan, -np.inf]])


@pytest.mark.parametrize("dtype", ["f4", "f8", "g"])
def test_types_of_numbers(save, dtype):
    ds = open_npz(save(nu2_signal_loc1=np.array([[0.5, 2]], dtype), compressed=True), "bn_ff")
    np.testing.assert_array_equal(ds.moments.nu2().sel(site="input"), [[0.5, 2]])


@pytest.mark.parametrize(
    ("file", "architecture"), [(file, FILES[file]) for file in FILES if file not in (VANILLA, HISTO)]
)
@x86
def test_architecture_is_inferred(file, architecture):
    assert open_npz(file).attrs["architecture"] == architecture


def test_architecture_is_inferred_from_locations(save):
    ones = np.ones((1, 2))
    assert open_npz(save(chi_loc5=ones)).attrs["architecture"] == "bn_res"
    assert open_npz(save(chi_loc1=ones, reff_signal_loc4=ones, reff_signal_loc3=-ones)).attrs["architecture"] == "bn_ff"
    for last, architecture in ((3, "vanilla"), (4, "bn_ff")):
        keys = {f"{name}_loc{k}": ones for name in RAW for k in range(1, last + 1)}
        assert open_npz(save(**keys)).attrs["architecture"] == architecture


@pytest.mark.parametrize(
    ("keys", "possible"),
    [
        (["chi_loc1"], "vanilla, bn_ff, bn_res"),
        (["chi_loc1", "chi_loc4"], "bn_ff, bn_res"),
        (["chi_loc1", "chi_loc3", "reff_noise_loc3"], "vanilla, bn_res"),
    ],
)
def test_ambiguous_architecture(save, keys, possible):
    with pytest.raises(NpzError, match=f"pass architecture=, one of {possible}$"):
        open_npz(save(**dict.fromkeys(keys, np.ones((1, 2)))))


@pytest.mark.parametrize(
    ("keys", "wanted", "possible"),
    [
        (["chi_loc1", "chi_loc5"], "vanilla", "bn_res"),
        (["chi_loc4"], "vanilla", "bn_ff, bn_res"),
        (["reff_signal_loc4"], "bn_res", "bn_ff"),
        (["reff_signal_loc1"], "bn_res", "none"),
    ],
)
def test_wrong_architecture(save, keys, wanted, possible):
    with pytest.raises(NpzError, match=f"cannot be '{wanted}'; possible: {possible}$"):
        open_npz(save(**dict.fromkeys(keys, np.ones((1, 2)))), wanted)


def test_unknown_architecture():
    with pytest.raises(NpzError, match=r"'resnet' is not one of vanilla, bn_ff, bn_res$"):
        open_npz(BN_FF, "resnet")


ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"chi_loc3": ONES, "depth": None}, "it has no 'depth'"),
        ({"arr_0": ONES, "depth": None}, "it has no 'depth'"),
        ({"res_depth": 2, "depth": [1]}, "it has no moments"),
        ({"chi_loc3": ONES, "kurtosis_loc3": ONES, "chi_loc6": ONES}, "unknown keys kurtosis_loc3, chi_loc6;"),
        ({"chi_loc3": ONES, "moments_chi_loc3": ONES}, "it has both chi_loc3 and moments_chi_loc3"),
        ({"chi_loc3": ONES, "depth": [1, 2, 3]}, r"chi_loc3 has shape \(3, 2\), not \(realization, depth\) = \(3, 3\)"),
        ({"chi_loc3": ONES, "chi_loc1": np.ones((4, 2))}, r"chi_loc1 has shape \(4, 2\), .* = \(3, 2\)"),
        ({"chi_loc3": np.ones(2)}, r"chi_loc3 has shape \(2,\)"),
        ({"chi_loc3": np.ones((0, 2))}, r"chi_loc3 has shape \(0, 2\)"),
        ({"chi_loc3": np.float64(1), "depth": [1]}, r"chi_loc3 has shape \(\)"),
        ({"chi_loc3": ONES * 1j}, "chi_loc3 is of dtype complex128"),
        ({"chi_loc3": ONES, "depth": [2, 2]}, "depth is not an increasing list of layers"),
        ({"chi_loc3": ONES, "depth": [0, 1]}, "depth is not an increasing list of layers"),
        ({"chi_loc3": ONES, "depth": [1.5, 2]}, "depth is not an increasing list of layers"),
        ({"chi_loc3": ONES, "depth": [1, np.nan]}, "depth is not an increasing list of layers"),
        ({"chi_loc3": ONES, "depth": 2}, "depth is not an increasing list of layers"),
        ({"chi_loc3": ONES, "depth": np.array([2, 1], "u8")}, "depth is not an increasing list of layers"),
        ({"chi_loc5": ONES, "res_depth": 0}, "res_depth is not one whole number"),
        ({"chi_loc5": ONES, "res_depth": [2, 2]}, "res_depth is not one whole number"),
    ],
)
def test_unfit_content(save, arrays, message):
    file = save(**arrays)
    with pytest.raises(NpzError, match=message) as caught:
        open_npz(file)
    assert str(caught.value).startswith(f"'{file}': ")
    assert "\n" not in str(caught.value)


def test_other_keys_are_ignored(save):
    arrays = {
        "moments_chi_loc5": ONES,
        "moments_depth": [1, 2],
        "depth": None,
        "sim0_kernels": np.ones(3),
        "config": "{}",
    }
    assert open_npz(save(**arrays)).moments.chi().shape == (3, 2, 1)


def test_no_such_file_and_other_files(save, tmp_path):
    with pytest.raises(NpzError, match=r"no such file$"):
        open_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not zipped")
    np.save(tmp_path / "single.npy", ONES)
    whole = save(chi_loc3=ONES).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name, message in (("text.npz", "not an .npz"), ("half.npz", "not an .npz"), ("single.npy", "a single array")):
        with pytest.raises(NpzError, match=message):
            open_npz(tmp_path / name, "vanilla")
    with pytest.raises(NpzError, match="cannot be opened: Is a directory"):
        open_npz(tmp_path)


def test_damaged_array(save):
    file = save(chi_loc3=np.full((3, 20), 1.5))
    content = bytearray(file.read_bytes())
    content[content.index(np.full(20, 1.5).tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(NpzError, match=r"chi_loc3 cannot be read: Bad CRC"):
        open_npz(file, "vanilla")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("key", ["chi_loc3", "depth", "config"])
def test_pickled_objects_are_refused_or_left_alone(save, tmp_path, key):
    bomb = np.empty((3, 2), object)
    bomb[:] = Bomb(tmp_path / "executed")
    file = save(**{"chi_loc3": ONES, "depth": [1, 2], key: bomb})
    if key == "config":
        assert open_npz(file, "vanilla").sizes["realization"] == 3
    else:
        with pytest.raises(NpzError, match=f"{key} cannot be read: Object arrays cannot be loaded"):
            open_npz(file, "vanilla")
    assert not (tmp_path / "executed").exists()


def test_long_doubles_that_the_platform_lacks(save):
    file = save(name="plain.npz", chi_loc3=ONES)
    foreign = file.with_name("foreign.npz")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(foreign, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content if name == "depth.npy" else content.replace(b"'<f8', ", b"'<f12',"))
    with pytest.raises(NpzError, match=r"chi_loc3 cannot be read: .* this platform lacks"):
        open_npz(foreign, "vanilla")


@x86
def test_long_doubles_of_another_format(monkeypatch):
    monkeypatch.setattr(npz, "_X86_MANTISSA", 112)
    with pytest.raises(
        NpzError, match=r"cannot be read: it holds long doubles of x86 Linux, which this platform lacks"
    ):
        open_npz(BN_FF)


@x86
@over_files
def test_round_trip(tmp_path, file, architecture):
    ds = open_npz(file, architecture)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds.drop_encoding().to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
        again = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False)
        xr.testing.assert_equal(again.load(), ds)
    assert again.attrs == ds.attrs


@x86
def test_opened_as_a_store(tmp_path):
    ds = open_npz(BN_FF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.to_zarr(tmp_path / "cube.zarr", zarr_format=3)
    again = mx.open_cube(tmp_path / "cube.zarr")
    xr.testing.assert_equal(again.moments.increments("chi").compute(), ds.moments.increments("chi"))


@x86
@over_files
def test_engine(file, architecture):
    ds = xr.open_dataset(file, engine="moments_dnns", architecture=architecture)
    xr.testing.assert_identical(ds, open_npz(str(file), architecture))


@x86
def test_engine_drops_variables_and_chunks():
    ds = xr.open_dataset(
        BN_FF, engine="moments_dnns", drop_variables=["reff_noise", "absent"], chunks={"realization": 5}
    )
    assert "reff_noise" not in ds
    assert ds.log_chi.chunks[0] == (5, 5, 5, 5)
    xr.testing.assert_equal(ds.moments.increments("chi").compute(), open_npz(BN_FF).moments.increments("chi"))
    assert "log_chi" not in xr.open_dataset(BN_FF, engine="moments_dnns", drop_variables="log_chi")


def test_engine_error(save):
    with pytest.raises(NpzError, match="pass architecture="):
        xr.open_dataset(save(chi_loc3=ONES), engine="moments_dnns")


def test_guess(save, tmp_path):
    backend = MomentsDnnsBackend()
    assert backend.guess_can_open(str(BN_FF))
    assert backend.guess_can_open(BN_RES_EXACT)
    assert not backend.guess_can_open(save(arr_0=ONES, depth=None))
    assert not backend.guess_can_open(tmp_path / "none.npz")
    assert not backend.guess_can_open(DATA / "README.md")
    assert not backend.guess_can_open(io.BytesIO(BN_FF.read_bytes()))
    assert "moments-dnns" in repr(backend)


def test_loads_no_torch():
    code = "import sys, moments_xr.npz; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
