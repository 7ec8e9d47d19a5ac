import contextlib
import io
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import xarray as xr
import yaml

import moments_xr as mx
from moments_xr import cli
from moments_xr.progress import rate
from moments_xr.recipe_files import load_yaml

DATA = Path(__file__).parent / "data"
BUILT = {
    *("recipes", "plan", "run", "info", "analyse", "figure", "report", "serve", "schema", "import", "advise", "theory"),
}
RECIPE = """\
name: tiny
description: A tiny recipe
realizations: 3
input: {dataset: gaussian, shape: [5], batch: 4}
network: {architecture: bn_ff, depth: 4, width: 3, kernel: 1}
compute: {block: 2}
"""


def shell(*arguments):
    """Exit status, standard output and standard error of the command, called in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["moments-xr", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()
    return None, out.getvalue(), err.getvalue()


def installed(*arguments, **options):
    command = [Path(sys.executable).with_name("moments-xr"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder, the current one, with a recipe in it."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    return tmp_path


def words(text):
    return " ".join(re.sub(r"[^\x20-\x7e]", " ", text).split())


def test_help_lists_the_commands_that_are_built():
    status, out, err = shell("--help")
    assert (status, err) == (0, "")
    assert {command.name or command.callback.__name__ for command in cli.app.registered_commands} == BUILT
    assert all(re.search(rf"\b{name}\b", out) for name in BUILT)


@pytest.mark.parametrize("command", sorted(BUILT))
def test_each_command_explains_itself(command):
    status, out, err = shell(command, "--help")
    assert (status, err) == (0, "")
    assert f"moments-xr {command}" in words(out)


def test_run_writes_to_the_default_store_and_says_so(tiny):
    status, out, err = shell("run", "tiny.yaml")
    assert status == 0
    assert "store: stores/tiny.zarr" in out
    assert mx.open_cube("stores/tiny.zarr").sizes["realization"] == 3
    assert err.splitlines()[-1].startswith("block 2/2: 3/3 realizations")


def test_run_prints_the_summary(tiny):
    status, out, _ = shell("run", "tiny.yaml", "--store", "s.zarr")
    ds = mx.open_cube("s.zarr")
    table = mx.summary(ds)
    assert status == 0
    for variable in table.data_vars.values():
        measured = bool(variable.notnull().any())
        assert (variable.attrs.get("symbol", variable.name) in out) == measured
    assert table.reff_noise.isnull().all(), "the recipe asks for the signal's rank only"
    assert all(f" {layer} " in out for layer in table["layer"].values)


def test_run_again_is_silent_and_changes_nothing(tiny):
    shell("run", "tiny.yaml")
    before = {path: path.stat().st_mtime_ns for path in Path("stores").rglob("*")}
    status, out, err = shell("run", "tiny.yaml")
    assert (status, err) == (0, "")
    assert "store: stores/tiny.zarr" in out
    assert {path: path.stat().st_mtime_ns for path in Path("stores").rglob("*")} == before


def test_set_and_device_change_the_recipe(tiny):
    changes = [
        "--set",
        "network.epsilon=1e-2",
        "--set",
        "realizations=2",
        "--set",
        "measure={every: 2}",
        "--device",
        "cpu",
    ]
    assert shell("run", "tiny.yaml", "--store", "s.zarr", *changes)[0] == 0
    made = mx.Recipe.from_json(mx.open_cube("s.zarr").attrs["recipe"])
    assert (made.network.epsilon, made.realizations, made.measure.every, made.compute.device) == (1e-2, 2, 2, "cpu")


def test_fewer_realizations_are_said(tiny):
    shell("run", "tiny.yaml", "--store", "s.zarr")
    status, _, err = shell("run", "tiny.yaml", "--store", "s.zarr", "--set", "realizations=1")
    assert (status, err.count("\n")) == (0, 1)
    assert "s.zarr" in err
    assert "3 realizations" in err
    assert "first 1" in err


def test_another_recipe_is_refused(tiny):
    shell("run", "tiny.yaml", "--store", "s.zarr")
    status, out, err = shell("run", "tiny.yaml", "--store", "s.zarr", "--set", "network.width=4")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "network.width (3 there, 4 here)" in err


def test_a_sweep_runs_and_shows_its_nodes(tiny):
    sweep = ["--set", "sweep={input.batch: [16, 4]}"]
    status, out, _ = shell("run", "tiny.yaml", *sweep)
    assert status == 0
    status, out, err = shell("info", "stores/tiny.zarr")
    assert (status, err) == (0, "")
    assert out.index("input.batch=16") < out.index("input.batch=4")
    status, out, err = shell("plan", "tiny.yaml", *sweep)
    assert (status, err) == (0, "")
    assert "input.batch=16" in out
    assert "together:" in out


def test_info(tiny):
    shell("run", "tiny.yaml", "--store", "s.zarr")
    ds = mx.open_cube("s.zarr")
    status, out, err = shell("info", "s.zarr")
    assert (status, err) == (0, "")
    for text in (
        "tiny",
        "A tiny recipe",
        "bn_ff",
        "3/3",
        ds.attrs["recipe_identity"][:12],
        "input, conv, norm, act",
        "torch",
    ):
        assert text in out


def test_info_of_what_is_not_complete(tiny, monkeypatch):
    from moments_xr import store

    written = store.write_block

    def stop(path, group, recipe, part, arrays):
        if part.start:
            raise KeyboardInterrupt
        written(path, group, recipe, part, arrays)

    monkeypatch.setattr(store, "write_block", stop)
    status, _, err = shell("run", "tiny.yaml", "--store", "s.zarr")
    assert status == 130
    assert "run the same command again" in err.splitlines()[-1]
    assert "2/3" in shell("info", "s.zarr")[1]


@pytest.mark.parametrize(
    "command", [["info"], ["figure", "--kind", "fig4", "-o", "f.png"]], ids=lambda command: command[0]
)
@pytest.mark.parametrize("content", ["nothing", "file", "folder"])
def test_what_is_not_a_store_is_refused(tiny, command, content):
    if content == "file":
        Path("s.zarr").write_text("no store")
    if content == "folder":
        Path("s.zarr").mkdir()
    status, out, err = shell(*command, "s.zarr")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert "store 's.zarr'" in err


def test_recipes(tiny):
    status, out, err = shell("recipes")
    assert (status, err) == (0, "")
    assert all(name in out for name in mx.recipes())


def test_plan_runs_nothing(tiny, monkeypatch):
    monkeypatch.setattr("moments_xr.propagation.block.propagate_block", None)
    status, out, err = shell("plan", "tiny.yaml", "--set", "realizations=5")
    assert (status, err) == (0, "")
    assert "3 of 2" in out
    assert [path.name for path in tiny.iterdir()] == ["tiny.yaml"]


def test_plan_estimates_what_is_stored(tiny):
    changes = {
        "realizations": 40,
        "network.width": 30,
        "network.depth": 20,
        "measure.channels": "all",
        "compute.block": 20,
    }
    recipe = mx.Recipe.from_yaml("tiny.yaml", changes)
    [cost] = mx.plan(recipe)
    ds = mx.run(recipe, progress=False)
    assert cost.stored == pytest.approx(sum(v.nbytes for v in ds.data_vars.values() if v.dtype.kind == "f"), rel=0.02)
    assert (cost.blocks, cost.realizations) == (2, 40)


def test_schema_is_json_schema():
    status, out, err = shell("schema")
    assert (status, err) == (0, "")
    assert json.loads(out) == mx.Recipe.model_json_schema()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], ["RECIPE"]),
        (["frobnicate"], ["frobnicate"]),
        (["run", "quickstart", "--frobnicate"], ["--frobnicate"]),
        (["import", "x.npz"], ["--store"]),
    ],
    ids=lambda words: "-".join(words),
)
def test_wrong_arguments(arguments, words):
    status, out, err = shell(*arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert all(word in err for word in words)


def test_no_argument_shows_help():
    status, out, err = shell()
    assert "recipes" in out + err
    assert status in (0, 2)


def test_what_fails_has_status_1_and_debug_shows_its_traceback(tiny, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("the disk has gone")

    monkeypatch.setattr("moments_xr.propagation.block.compute_block", broken)
    assert shell("run", "tiny.yaml") == (1, "", "moments-xr: the disk has gone\n")
    status, _, err = shell("--debug", "run", "tiny.yaml")
    assert status == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == "moments-xr: the disk has gone"


def test_debug_shows_the_traceback_and_keeps_the_status(tiny):
    done = installed("--debug", "run", "nothing.yaml")
    assert "Traceback" in done.stderr
    assert "RecipeError" in done.stderr
    assert done.returncode == 2


def test_a_net_that_dies_disturbs_nothing(tiny):
    changes = ["--set", "network={architecture: vanilla, depth: 60}"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, out, err = shell("run", "tiny.yaml", "--store", "s.zarr", *changes)
    assert (status, err.count("\n")) == (0, 1), err
    assert "alive" in out
    assert not mx.alive(mx.open_cube("s.zarr")).all()


def test_plain_lines_when_there_is_no_terminal(tiny):
    done = installed("run", "tiny.yaml", cwd=tiny)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines == [line for line in lines if re.match(r"block \d/2: \d/3 realizations, .*s left$", line)]
    assert "\x1b" not in done.stdout + done.stderr
    assert lines[-1].startswith("block 2/2: 3/3 realizations")


def test_plain_lines_come_now_and_then(tiny, monkeypatch):
    monkeypatch.setattr("moments_xr.progress.PLAIN_SECONDS", 0.0)
    lines = shell("run", "tiny.yaml")[2].splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "block 1/2: 0/3 realizations",  # each of the 4 layers is a fourth of the block's 2
        "block 1/2: 1/3 realizations",
        "block 1/2: 2/3 realizations",
        "block 1/2: 2/3 realizations",
        "block 2/2: 2/3 realizations",
        "block 2/2: 2/3 realizations",
        "block 2/2: 2/3 realizations",
        "block 2/2: 3/3 realizations",
        "block 2/2: 3/3 realizations",
        "block 2/2: 3/3 realizations",
    ]


@pytest.mark.parametrize(
    ("realizations", "seconds", "text"),
    [(0, 5, "-"), (5, 0, "-"), (10, 4, "2.5 realizations/s"), (2, 5, "2.5 s a realization")],
)
def test_rate(realizations, seconds, text):
    assert rate(realizations, seconds) == text


IMPORTS = [("vanilla_fc.npz", "vanilla"), ("bn_ff_fc_64.npz", "bn_ff"), ("bn_res_raw.npz", "bn_res")]


@pytest.mark.parametrize(("file", "architecture"), IMPORTS)
def test_import(file, architecture, tmp_path):
    store = tmp_path / "s.zarr"
    status, out, err = shell("import", DATA / file, "--architecture", architecture, "--store", store)
    assert (status, err) == (0, "")
    assert f"store: {store}" in out
    expected = mx.open_npz(DATA / file, architecture)
    xr.testing.assert_identical(mx.open_cube(store).load(), expected)
    status, out, err = shell("info", store)
    assert (status, err) == (0, "")
    assert architecture in out
    assert "done" in out


def test_import_refuses_what_is_there_and_what_is_no_file(tmp_path):
    file, store = DATA / "vanilla_fc.npz", tmp_path / "s.zarr"
    status, out, err = shell("import", tmp_path / "no.npz", "--store", store)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no.npz" in err
    (tmp_path / "bad.npz").write_text("no archive")
    status, out, err = shell("import", tmp_path / "bad.npz", "--store", store)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not store.exists()
    store.mkdir()
    status, out, err = shell("import", file, "--architecture", "vanilla", "--store", store)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "is there already" in err
    assert not list(store.iterdir())


def test_a_cube_without_a_summary_is_run(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE + "measure: {moments: [nu2_signal], sites: [conv], effective_rank: []}\n")
    status, out, err = shell("run", tmp_path / "r.yaml", "--store", tmp_path / "s.zarr")
    assert not status and "measured at conv, which has no summary" in out and "Traceback" not in err


def test_figure(tiny):
    changes = ["--set", "network.architecture=vanilla", "--set", "measure={effective_rank: [signal, noise]}"]
    assert shell("run", "tiny.yaml", "--store", "s.zarr", *changes)[0] == 0
    for arguments in (["-o", "out.png"], ["--kind", "fig3", "-o", "out.svg"]):
        status, out, err = shell("figure", "s.zarr", *arguments)
        assert (status, err) == (0, "")
        assert f"figure: {arguments[-1]}" in out
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path("out.svg").read_text()


def test_figure_of_a_sweep_needs_a_node(tiny):
    sweep = ["--set", "sweep={input.batch: [16, 4]}", "--set", "measure={effective_rank: [signal, noise]}"]
    shell("run", "tiny.yaml", "--store", "s.zarr", *sweep)
    status, out, err = shell("figure", "s.zarr", "--kind", "fig4", "-o", "out.png")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "input.batch=16, input.batch=4" in err
    assert shell("figure", "s.zarr", "--kind", "fig4", "-o", "out.png", "--node", "input.batch=4")[0] == 0
    assert Path("out.png").stat().st_size > 1000


LOADED = """
import sys, json
import xarray
before = set(sys.modules)
import moments_xr
added = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"loaded": sorted({name.split(".")[0] for name in sys.modules}), "added": sorted(added), "dir": dir(moments_xr)}))
"""


def test_importing_the_package_is_light():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert set(report["added"]) - set(sys.stdlib_module_names) == {"moments_xr"}
    heavy = {
        "torch",
        "panel",
        "holoviews",
        "bokeh",
        "matplotlib",
        "pydantic",
        "yaml",
        "typer",
        "rich",
        "scipy",
        "zarr",
        "dask",
    }
    assert not heavy & set(report["loaded"])
    public = {
        "Recipe",
        "recipe",
        "recipes",
        "run",
        "propagate",
        "plan",
        "open_cube",
        "open_npz",
        "get",
        "chi",
        "increments",
    }
    assert {*public, "effective_rank", "alive", "summary"} <= set(report["dir"])


def test_every_public_name_is_there():
    assert all(getattr(mx, name) is not None for name in dir(mx))
    with pytest.raises(AttributeError, match="no_such_name"):
        mx.no_such_name  # noqa: B018


def test_functions_are_not_hidden_by_modules_of_their_name():
    import moments_xr.plan
    import moments_xr.recipe
    import moments_xr.run  # noqa: F401
    from moments_xr import plan, recipe, run

    assert all(callable(function) for function in (plan, recipe, run, mx.plan, mx.recipe, mx.run))


def test_set_reads_yaml_as_recipes_do(tiny):
    assert load_yaml("{a: 1e-3, b: [1, x]}") == {"a": 1e-3, "b": [1, "x"]}
    assert yaml.safe_load(mx.Recipe.from_yaml("tiny.yaml").to_yaml())["network"]["width"] == 3
    assert np.isclose(mx.Recipe.from_yaml("tiny.yaml", {"network.epsilon": load_yaml("5e-4")}).network.epsilon, 5e-4)
