"""`moments-xr analyse`: the table, the JSON and its schema, the exit status for a build."""

import json

import jsonschema
import pytest
import xarray as xr
from test_cli import shell

import moments_xr as mx
from moments_xr.analysis.report import ANALYSES, analyse
from moments_xr.quantities import PATHOLOGIES


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of an exploding net, of few realizations, and of a sweep."""
    from conftest import make_recipe

    folder = tmp_path_factory.mktemp("stores")
    deep = make_recipe("bn_ff", realizations=12, network__depth=40, network__width=32, compute__block=12)
    recipes = {
        "exploding": deep,
        "few": make_recipe("vanilla", realizations=2),
        "sweep": make_recipe("vanilla", realizations=2, sweep={"network.width": [12, 8]}),
    }
    return {
        name: str(mx.run(recipe, folder / f"{name}.zarr", progress=False) and folder / f"{name}.zarr")
        for name, recipe in recipes.items()
    }


def test_the_table_has_verdicts_fits_and_summary_and_fits_a_terminal(stores):
    status, out, err = shell("analyse", stores["exploding"])
    assert (status, err) == (0, "")
    for words in (
        "exploding sensitivity",
        "present",
        "γ",
        "growth of χ: exponential",
        "theorem 3 holds",
        "r_eff(x)",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_json_is_as_its_schema_says_and_reads_back(stores, tmp_path):
    file = tmp_path / "new" / "report.json"
    status, out, _ = shell("analyse", stores["exploding"], "--json", file)
    assert status == 0 and "report: " in out
    report = json.loads(file.read_text())
    schema = json.loads(shell("schema", "--analysis")[1])
    jsonschema.validate(report, schema)
    assert list(report["pathologies"]) == list(PATHOLOGIES) == list(schema["properties"]["pathologies"]["default"])
    assert report["pathologies"]["high_sensitivity"]["long_name"] == PATHOLOGIES["high_sensitivity"].long_name
    node = report["nodes"][""]
    assert node["realizations"] == 12 and node["recipe"]["network"]["width"] == 32
    assert set(node["results"]) | set(node["not_available"]) == set(ANALYSES)
    verdicts = xr.Dataset.from_dict(node["results"]["classify"])
    expected = mx.classify(mx.open_cube(stores["exploding"])).compute()
    assert verdicts.verdict.values.tolist() == expected.verdict.values.tolist()
    assert verdicts.statistic.sel(pathology="fat_tails").item() == pytest.approx(
        expected.statistic.sel(pathology="fat_tails").item()
    )
    summary = xr.Dataset.from_dict(node["results"]["summary"])
    assert summary.chi.attrs["symbol"] == "χ"


def test_fail_on_ends_with_status_3(stores):
    status, out, err = shell("analyse", stores["exploding"], "--fail-on", "exploding_sensitivity")
    assert status == 3 and "verdict" in out
    assert err.strip() == "moments-xr: found exploding_sensitivity"
    assert shell("analyse", stores["exploding"], "--fail-on", "high_sensitivity")[0] == 3
    assert shell("analyse", stores["exploding"], "--fail-on", "vanishing_gradient")[0] == 0
    assert shell("analyse", stores["exploding"], "--fail-on", "fat_tails,zero_dimensional_signal")[0] == 0
    assert shell("analyse", stores["exploding"], "--fail-on", "fat_tails", "--fail-on", "any")[0] == 3
    assert shell("analyse", stores["few"], "--fail-on", "any")[0] == 0, "undecided is not found"
    status, _, err = shell("analyse", stores["exploding"], "--fail-on", "explosion")
    assert status == 2
    assert err.strip() == f"moments-xr: --fail-on explosion: not one of any, {', '.join(PATHOLOGIES)}"


def test_a_sweep_is_analysed_node_by_node(stores, tmp_path):
    status, out, _ = shell("analyse", stores["sweep"], "--json", tmp_path / "r.json")
    assert status == 0
    assert "network.width=12: undecided" in out and "network.width=8: undecided" in out
    assert list(json.loads((tmp_path / "r.json").read_text())["nodes"]) == ["network.width=12", "network.width=8"]
    one = shell("analyse", stores["sweep"], "--node", "network.width=8")[1]
    assert "network.width=12" not in one


def test_a_store_that_is_not_there_is_said():
    status, _, err = shell("analyse", "nowhere.zarr")
    assert status == 2 and err.strip() == "moments-xr: store 'nowhere.zarr': no such store"


def test_what_is_there_is_answered(stores):
    """One realization, few sites: nothing is lost but what needs the rest."""
    ds = mx.open_cube(stores["few"]).isel(realization=0).sel(site="act")
    results, lacking = analyse(ds)
    assert "classify" in results and "summary" in results
    assert "decompose chi" in lacking and "sites" in lacking["decompose chi"]


def test_one_realization_selected_by_its_number_is_analysed(cubes):
    one, row = (analyse(cubes["bn_ff"].chunk(realization=4).isel(realization=k))[0] for k in (2, [2]))
    xr.testing.assert_identical(one["summary"], row["summary"])
    assert "alive" in one["classify"]


def test_a_cluster_of_processes_gives_the_same_answers(stores):
    from dask.distributed import Client, LocalCluster

    ds = mx.open_cube(stores["exploding"])
    here, lacking = analyse(ds.load())
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        there, _ = analyse(mx.open_cube(stores["exploding"]).chunk(realization=5))
    assert set(here) == set(there) and not set(here) & set(lacking)
    for name, result in here.items():
        words = [key for key, values in result.data_vars.items() if values.dtype == object]
        for key in words:
            assert (there[name][key] == result[key]).all(), (name, key)
        xr.testing.assert_allclose(there[name].drop_vars(words), result.drop_vars(words))
