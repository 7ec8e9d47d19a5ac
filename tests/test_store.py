import errno
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import make_recipe
from test_cli import shell

import moments_xr as mx
from moments_xr.errors import RequestError, StoreError, WriteError
from moments_xr.propagation import block

TINY = mx.Recipe(
    name="tiny",
    realizations=3,
    input={"dataset": "gaussian", "shape": [4], "batch": 4},
    network={"architecture": "vanilla", "depth": 2, "width": 3, "kernel": 1},
    measure={"sites": ["act"], "channels": "all", "effective_rank": ["signal", "noise"]},
    compute={"block": 2},
)
LONGER = TINY.replace({"realizations": 5})
SWEPT = TINY.replace({"sweep": {"input.batch": [16, 8]}})
NODE = TINY.replace({"sweep": {"input.batch": [16]}})
SWEPT_LONGER = SWEPT.replace({"realizations": 5})


def run(recipe, store=None, **options):
    return mx.run(recipe, store, progress=False, **options)


def plain(store):
    """Every node of a store, loaded, as readers see it that don't know this package; no warning may be heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(store, engine="zarr", chunks=None).load()
        xr.open_zarr(store).load()
        for name, node in tree.children.items():
            assert same(node.to_dataset(), xr.open_zarr(store, group=name, chunks=None)) == []
    return {"": tree.to_dataset(), **{name: node.to_dataset() for name, node in tree.children.items()}}


plain_once = functools.cache(plain)
"""For stores that stay as they are."""


def exact(variable):
    """Bytes of numbers; texts, of whatever type, as they are."""
    values = variable.values
    return (values.dtype, values.tobytes()) if values.dtype.kind in "fiub" else [str(value) for value in values.ravel()]


def same(a, b):
    """What differs between two cubes: names of attributes and variables, compared bit by bit."""
    differing = [f"attribute {key}" for key in a.attrs.keys() | b.attrs.keys() if a.attrs.get(key) != b.attrs.get(key)]
    for name in a.variables.keys() | b.variables.keys():
        one, other = a.variables.get(name), b.variables.get(name)
        if one is None or other is None or one.dims != other.dims or one.shape != other.shape:
            differing.append(f"{name}: shape")
        elif one.attrs != other.attrs or exact(one) != exact(other):
            differing.append(str(name))
    return differing


def differences(store, reference):
    """What differs between two stores, in any node, and what is left over in the first."""
    a, b = plain(store), plain_once(reference)
    if a.keys() != b.keys():
        return [f"nodes {list(a)}"]
    left = [path.name for path in Path(store).parent.rglob("*") if path.suffix in (".partial", ".template")]
    return left + [f"{name} {what}" for name in a for what in same(a[name], b[name])]


def snapshot(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in Path(folder).rglob("*")
    }


@pytest.fixture
def no_computation(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("computed")

    monkeypatch.setattr(block, "compute_block", refuse)


class Killer:
    """Runs recipes in children that are killed (killed_run.py)."""

    def __init__(self, folder, environment=None):
        self.folder = folder
        command = [sys.executable, Path(__file__).with_name("killed_run.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
        )

    def __call__(self, recipe, store, at=None, after=None):
        file = self.folder / "recipe.yaml"
        file.write_text(recipe.to_yaml())
        self.process.stdin.write(
            json.dumps({"recipe": str(file), "store": str(store), "at": at, "after": after}) + "\n"
        )
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    killer = Killer(tmp_path_factory.mktemp("killer"))
    yield killer
    killer.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Stores that were never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    recipes = {"tiny": TINY, "longer": LONGER, "node": NODE, "swept": SWEPT, "swept_longer": SWEPT_LONGER}
    for name, recipe in recipes.items():
        run(recipe, folder / f"{name}.zarr")
    return {name: folder / f"{name}.zarr" for name in recipes}


SCENARIOS = {
    "fresh": (None, "tiny", TINY),
    "extended": ("tiny", "longer", LONGER),
    "sweep": (None, "swept", SWEPT),
    "sweep-extended": ("node", "swept_longer", SWEPT_LONGER),
}


def is_visible(operation):
    """Whether readers may see the difference: not temporary files, nor what happens in a template."""
    name, path = operation
    return name in ("os.rename", "os.link", "os.remove") and ".template/" not in path


def check_killed(store, before, reference):
    """After a kill readers see the old length or the new, and what is done is as in the finished store."""
    if not store.exists():
        assert before is None
        return
    expected = plain_once(reference)
    old = plain_once(before) if before else {"": None}
    nodes = plain(store)
    assert old.keys() <= nodes.keys() <= expected.keys()
    for name, ds in nodes.items():
        if "done" not in ds:
            continue
        lengths = {(old.get(name) or expected[name]).sizes["realization"], expected[name].sizes["realization"]}
        assert ds.sizes["realization"] in lengths
        assert ds["realization"].values.tolist() == list(range(ds.sizes["realization"]))
        done = np.flatnonzero(ds["done"].values)
        assert before is None or len(done) >= min(lengths) or name not in old
        assert same(ds.isel(realization=done).drop_attrs(), expected[name].isel(realization=done).drop_attrs()) == []


def kill_and_finish(killer, finished, scenario, folder, numbers):
    """Kill at each of these operations, look, run again, compare; returns how many children were killed."""
    start, end, recipe = SCENARIOS[scenario]
    before, reference = finished.get(start), finished[end]
    killed = 0
    for number in numbers:
        store = folder / f"at{number}" / "s.zarr"
        store.parent.mkdir()
        if before:
            shutil.copytree(before, store)
        killed += killer(recipe, store, at=number)["signal"] == signal.SIGKILL
        check_killed(store, before, reference)
        run(recipe, store)
        assert differences(store, reference) == [], f"killed at operation {number}"
        shutil.rmtree(store.parent)
    return killed


def list_operations(killer, finished, scenario, folder):
    """File operations of an uninterrupted run; only temporary files are opened for writing."""
    start, end, recipe = SCENARIOS[scenario]
    store = folder / "all" / "s.zarr"
    store.parent.mkdir()
    if start:
        shutil.copytree(finished[start], store)
    operations = killer(recipe, store)["operations"]
    assert all(path.endswith(".partial") for name, path in operations if name == "open")
    assert differences(store, finished[end]) == []
    return operations


@pytest.mark.parametrize(("scenario", "count"), [("fresh", 4), ("extended", 7), ("sweep", 1), ("sweep-extended", 6)])
def test_killed_and_run_again_it_is_as_if_uninterrupted(scenario, count, killer, finished, tmp_path):
    operations = list_operations(killer, finished, scenario, tmp_path)
    visible = [number for number, operation in enumerate(operations) if is_visible(operation)]
    chosen = sorted({visible[i] for i in np.linspace(0, len(visible) - 1, count).round().astype(int)})
    numbers = ([visible[0] // 2] if SCENARIOS[scenario][0] is None else []) + chosen
    assert kill_and_finish(killer, finished, scenario, tmp_path, numbers) >= len(numbers) - 1


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_operation(scenario, killer, finished, tmp_path):
    operations = list_operations(killer, finished, scenario, tmp_path)
    every = 5 if "sweep" in scenario else 1  # a sweep has five hundred, and most change nothing that can be seen
    numbers = [
        number
        for number, operation in enumerate(operations)
        if is_visible(operation) or number % (10 if ".template/" in operation[1] else every) == 0
    ]
    assert kill_and_finish(killer, finished, scenario, tmp_path, numbers) >= len(numbers) - 2 > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_at_any_time(seed, killer, tmp_path):
    rng = random.Random(seed)
    recipe = LONGER.replace({"realizations": 40, "compute.block": 3, "sweep": {"network.width": [40, 20]}})
    run(recipe, tmp_path / "reference" / "s.zarr")
    kills = 0
    for _ in range(8):
        store = tmp_path / "killed" / "s.zarr"
        wanted = [recipe.replace({"realizations": rng.randrange(1, 40)}), recipe]
        while wanted:
            ended = killer(wanted[0], store, after=rng.uniform(0.02, 1.5))["signal"]
            kills += ended == signal.SIGKILL
            wanted = wanted[ended != signal.SIGKILL :]
        assert differences(store, tmp_path / "reference" / "s.zarr") == []
        shutil.rmtree(store.parent)
    assert kills > 8


@pytest.mark.parametrize(("scenario", "then"), [("extended", TINY), ("sweep-extended", NODE)])
def test_an_extension_that_was_killed_may_be_given_up(scenario, then, killer, finished, tmp_path):
    """Asked for the old number again, the store gives the old cube, and may be extended later."""
    start, end, recipe = SCENARIOS[scenario]
    operations = list_operations(killer, finished, scenario, tmp_path)
    metadata = [
        i for i, operation in enumerate(operations) if is_visible(operation) and operation[1].endswith("zarr.json")
    ]
    for number in metadata[1 :: len(metadata) // 2]:
        store = tmp_path / f"at{number}" / "s.zarr"
        store.parent.mkdir()
        shutil.copytree(finished[start], store)
        assert killer(recipe, store, at=number)["signal"] == signal.SIGKILL
        given = run(then, store)
        nodes = (
            {"": given}
            if isinstance(given, xr.Dataset)
            else {name: node.to_dataset() for name, node in given.children.items()}
        )
        for name, ds in nodes.items():
            expected = plain_once(finished[start])[name]
            assert set(same(ds.drop_vars("input.batch", errors="ignore"), expected)) <= {"attribute recipe"}
        run(recipe, store)
        assert differences(store, finished[end]) == []


@pytest.mark.parametrize("seeds", [["1"], pytest.param(["2", "3", "4", "5", "6"], marks=pytest.mark.slow)], ids=len)
def test_done_is_written_after_the_data_in_any_process(seeds, killer, tmp_path):
    others = [Killer(tmp_path, {"PYTHONHASHSEED": seed}) for seed in seeds]
    for i, one in enumerate([killer, *others]):
        store = tmp_path / f"{i}" / "s.zarr"
        written = [
            path
            for name, path in one(LONGER, store)["operations"]
            if name == "os.rename" and path.startswith(f"{store}/")
        ]
        keys = [Path(path).relative_to(store).parts for path in written]
        chunks = [(key[0], int(key[2])) for key in keys if len(key) > 2 and key[1] == "c"]
        for number in range(3):
            names = [name for name, chunk in chunks if chunk == number]
            assert names[-1] == "done"
            assert sorted(names) == sorted(plain(store)[""].data_vars)
    for one in others:
        one.close()


@pytest.mark.parametrize(
    ("architecture", "steps"), [("vanilla", [4, 8]), ("bn_ff", [6, 9]), ("bn_res", [1, 3, 9])], ids=str
)
def test_extended_equals_made_at_once(architecture, steps, tmp_path):
    recipe = make_recipe(architecture, measure__branches=2)
    for realizations in steps:
        ds = run(recipe.replace({"realizations": realizations}), tmp_path / "s.zarr")
        assert ds.sizes["realization"] == realizations
        assert ds["done"].all()
    run(recipe.replace({"realizations": steps[-1]}), tmp_path / "once.zarr")
    assert differences(tmp_path / "s.zarr", tmp_path / "once.zarr") == []


def test_an_extended_sweep_equals_one_made_at_once(finished, tmp_path):
    shutil.copytree(finished["swept"], tmp_path / "s.zarr")
    run(SWEPT_LONGER, tmp_path / "s.zarr")
    assert differences(tmp_path / "s.zarr", finished["swept_longer"]) == []


def test_extending_computes_only_the_partial_block_and_what_follows(tmp_path, monkeypatch):
    run(make_recipe(realizations=6), tmp_path / "s.zarr")
    computed, compute = [], block.compute_block
    monkeypatch.setattr(
        block, "compute_block", lambda recipe, part, *rest: computed.append(part) or compute(recipe, part, *rest)
    )
    run(make_recipe(realizations=9), tmp_path / "s.zarr")
    assert computed == [range(4, 8), range(8, 12)]


def test_a_reader_sees_the_old_length_until_the_new_is_there(finished, tmp_path, monkeypatch):
    from moments_xr import store as zarr_store

    shutil.copytree(finished["tiny"], tmp_path / "s.zarr")
    seen = []
    publish = zarr_store._publish
    monkeypatch.setattr(
        zarr_store, "_publish", lambda *arguments: seen.append(plain(tmp_path / "s.zarr")[""]) or publish(*arguments)
    )
    monkeypatch.setattr(zarr_store, "write_block", lambda *arguments: seen.append(plain(tmp_path / "s.zarr")[""]))
    run(LONGER, tmp_path / "s.zarr")
    assert [ds.sizes["realization"] for ds in seen] == [3, 5, 5]
    assert same(seen[0], plain_once(finished["tiny"])[""]) == []
    assert seen[1]["done"].values.tolist() == [True, True, True, False, False]
    assert seen[1]["realization"].values.tolist() == [0, 1, 2, 3, 4]


def test_finished_is_not_computed_again(finished, no_computation, tmp_path):
    for name in ("tiny", "swept"):
        shutil.copytree(finished[name], tmp_path / name)
        before = snapshot(tmp_path / name)
        recipe = TINY if name == "tiny" else SWEPT
        run(recipe.replace({"name": "other", "description": "other", "compute.block": 7}), tmp_path / name)
        assert snapshot(tmp_path / name) == before


@pytest.mark.parametrize("realizations", [1, 2])
def test_fewer_realizations_change_nothing_and_give_the_first(realizations, finished, no_computation, tmp_path, capsys):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["tiny"], store)
    before = snapshot(store)
    ds = run(TINY.replace({"realizations": realizations}), store)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert all(text in message for text in (str(store), "3 realizations", f"first {realizations}"))
    assert snapshot(store) == before
    assert same(ds, plain(store)[""].isel(realization=slice(realizations))) == []


def test_fewer_realizations_of_what_is_unfinished_compute_no_more_than_them(finished, no_computation, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["longer"], store)
    (store / "done" / "c" / "2").unlink()
    before = snapshot(store)
    assert run(TINY, store)["realization"].values.tolist() == [0, 1, 2]
    assert snapshot(store) == before


def test_a_missing_block_is_computed_again(finished, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["longer"], store)
    (store / "done" / "c" / "1").unlink()
    partial = mx.open_cube(store)
    assert partial["realization"].values.tolist() == [0, 1, 4]
    assert mx.open_cube(store, complete=False).sizes["realization"] == 5
    run(LONGER, store)
    assert differences(store, finished["longer"]) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network.width": 4}, ["network.width (3 there, 4 here)"]),
        ({"seed": 1, "network.weights": "lecun"}, ["seed (default there, 1 here)", "network.weights.variance (default there, 1.0 here)"]),
        ({"compute.precision": "float64"}, ["precision", "float64 here"]),
        ({"measure.channels": "mean"}, ["measure.channels (all there"]),
        ({"sweep": {"input.batch": [4]}}, ["sweep"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_store_of_another_recipe_is_refused_and_untouched(changes, words, finished, no_computation, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["tiny"], store)
    (store / "left.partial").touch()
    before = snapshot(tmp_path)
    with pytest.raises(StoreError) as error:
        run(TINY.replace({"realizations": 9, **changes}), store)
    assert all(word in str(error.value) for word in [str(store), *words]), error.value
    assert "realizations" not in str(error.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "recipe",
    [
        TINY,
        SWEPT.replace({"network.width": 4}),
        TINY.replace({"network.width": 4, "sweep": {"input.batch": [32]}}),
        TINY.replace({"network.width": 4, "sweep": {"input.batch": [16, 32]}}),
        TINY.replace({"sweep": {"network.width": [4]}}),
        TINY.replace({"sweep": {"network.width": [3]}}),
        TINY.replace({"sweep": {"input.batch": [16], "network.width": [3]}}),
    ],
    ids=["no-sweep", "width", "width-new-node", "width-old-and-new-node", "other-key", "other-key-same-value", "one-key-more"],
)  # fmt: skip
def test_a_sweep_of_another_recipe_is_refused_and_untouched(recipe, finished, no_computation, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["swept"], store)
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match=r"s\.zarr': made by another recipe"):
        run(recipe, store)
    assert snapshot(tmp_path) == before


def foreign(kind, path, finished):
    if kind == "file":
        path.write_text("not a store")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "folder":
        path.mkdir()
        (path / "thesis.tex").write_text("years of work")
    elif kind == "zarr group":
        zarr.create_group(path, attributes={"mine": 1})
    elif kind == "zarr array":
        zarr.save_array(path, np.ones(3))
    elif kind == "zarr 2":
        zarr.create_group(path, zarr_format=2)
    elif kind == "dataset":
        xr.Dataset({"a": ("x", [1.0, 2.0])}).to_zarr(path, zarr_format=3, consolidated=False)
    else:
        shutil.copytree(finished["tiny"], path)
        text = (path / "zarr.json").read_text()
        changed = {
            "newer schema": text.replace('"schema_version": 1', '"schema_version": 2'),
            "schema as text": text.replace('"schema_version": 1', '"schema_version": "one"'),
            "truncated": text[: len(text) // 2],
            "without done": text,
        }[kind]
        (path / "zarr.json").write_text(changed)
        if kind == "without done":
            metadata = json.loads(text)
            del metadata["consolidated_metadata"]["metadata"]["done"]
            (path / "zarr.json").write_text(json.dumps(metadata))
            shutil.rmtree(path / "done")


FOREIGN = {
    "file": "s.zarr", "empty folder": "s.zarr", "folder": "s.zarr", "zarr group": "schema_version", "zarr array": "s.zarr", "zarr 2": "schema_version",
    "dataset": "schema_version", "newer schema": "schema version 2 is newer", "schema as text": "schema", "truncated": "s.zarr", "without done": "done",
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("use", ["run", "open"])
def test_what_is_not_a_cube_of_this_package_is_refused_and_untouched(kind, use, finished, tmp_path):
    store = tmp_path / "s.zarr"
    foreign(kind, store, finished)
    before = snapshot(tmp_path)
    with pytest.raises(StoreError) as error:
        run(TINY, store) if use == "run" else mx.open_cube(store)
    assert str(store) in str(error.value)
    assert FOREIGN[kind] in str(error.value)
    assert snapshot(tmp_path) == before


def test_no_store_no_cube(tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        mx.open_cube(tmp_path / "s.zarr")
    assert not list(tmp_path.iterdir())


def test_imported_results_are_not_extended(tmp_path):
    from moments_xr.store import save

    save(mx.open_npz(Path(__file__).parent / "data" / "vanilla_fc.npz", "vanilla"), tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="not made by a recipe"):
        run(TINY, tmp_path / "s.zarr")


def test_leftovers_of_a_killed_run_are_removed(finished, tmp_path):
    store = tmp_path / "s.zarr"
    (tmp_path / "s.zarr.template" / "done").mkdir(parents=True)
    (tmp_path / "s.zarr.template" / "zarr.json").write_text("{")
    run(TINY, store)
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]
    (store / "done" / "c" / "0.abc.partial").write_bytes(b"junk")
    run(TINY, store)
    assert differences(store, finished["tiny"]) == []


def test_draws_do_not_depend_on_the_block():
    changes = {"compute__precision": "float64", "realizations": 5}
    cubes = [run(make_recipe("vanilla", 3, compute__block=size, **changes)) for size in (1, 3, 4)]
    for ds in cubes[1:]:
        assert exact(ds["input_mu2_signal"]) == exact(cubes[0]["input_mu2_signal"])
        np.testing.assert_allclose(ds["pooled_moments"], cubes[0]["pooled_moments"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ds["channel_moments"], cubes[0]["channel_moments"], rtol=1e-5, atol=1e-8)
    single = [run(make_recipe("bn_ff", compute__block=size, realizations=5)) for size in (1, 3, 4)]
    for ds in single[1:]:
        np.testing.assert_allclose(ds["pooled_moments"], single[0]["pooled_moments"], rtol=1e-4, atol=1e-6)


def test_realizations_differ_and_a_number_is_a_draw():
    ds = run(make_recipe(realizations=8))
    firsts = ds["pooled_moments"].isel(layer=0, site=1).sel(pooled_moment="mu2_signal").values
    assert len(set(firsts.tolist())) == 8
    again = run(make_recipe(realizations=3))
    assert same(again.drop_attrs(), ds.isel(realization=slice(3)).drop_attrs()) == []
    other = run(make_recipe(realizations=3, seed=1))
    assert (
        not np.isin(other["input_mu2_signal"], ds["input_mu2_signal"]).all()
        or not np.isin(other["pooled_moments"], ds["pooled_moments"]).any()
    )


def full_disk(monkeypatch, keys):
    """Writing a key that begins like one of these fails, as on a full disk."""
    write = zarr.storage.LocalStore.set

    async def fail(self, key, value):
        if key.startswith(keys):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key)
        await write(self, key, value)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", fail)


FULL = {
    "template": (None, "tiny", TINY, ("pooled_moments/zarr.json",), 0),
    "second-block": (None, "longer", LONGER, ("channel_moments/c/1",), 2),
    "ledger": (None, "longer", LONGER, ("done/c/2",), 4),
    "extension": ("tiny", "longer", LONGER, ("pooled_moments/zarr.json",), 3),
    "extended-block": ("tiny", "longer", LONGER, ("pooled_moments/c/1",), 3),
    "sweep": (None, "swept", SWEPT, ("input.batch=8/pooled_moments/c/1",), 3),
}


@pytest.mark.parametrize("case", FULL)
def test_a_full_disk_is_said_and_nothing_is_lost(case, finished, tmp_path, monkeypatch):
    start, end, recipe, keys, kept = FULL[case]
    store, file = tmp_path / "s.zarr", tmp_path / "r.yaml"
    file.write_text(recipe.to_yaml())
    if start:
        shutil.copytree(finished[start], store)
    with monkeypatch.context() as patch:
        full_disk(patch, keys)
        with pytest.raises(WriteError, match="No space left on device") as error:
            run(recipe, store)
        assert str(store) in str(error.value)
        status, out, err = shell("run", file, "--store", store)
        last = err.splitlines()[-1]
        assert (status, out) == (1, "")
        assert "Traceback" not in err
        assert "No space left on device" in last
        assert "run again" in last
    if store.exists():
        check_killed(store, finished.get(start), finished[end])
        cube = mx.open_cube(store)
        first = cube if isinstance(cube, xr.Dataset) else cube["input.batch=16"]
        assert first.sizes["realization"] == kept
    else:
        assert kept == 0
    run(recipe, store)
    file.unlink()
    assert differences(store, finished[end]) == []


def test_given_data_are_stored_and_resumed(tmp_path, monkeypatch):
    data = np.random.default_rng(0).normal(size=(30, 6))
    store = tmp_path / "s.zarr"
    first = run(TINY, store, data=data)
    assert first.attrs["recipe_identity"] == mx.Recipe.from_json(first.attrs["recipe"]).identity()
    run(LONGER, store, data=data)
    run(LONGER, tmp_path / "once.zarr", data=data)
    assert differences(store, tmp_path / "once.zarr") == []
    assert same(run(LONGER, data=data), plain(store)[""]) == []
    np.save(tmp_path / "data.npy", data)
    read = LONGER.replace({"input": {"dataset": "array", "shape": None, "path": str(tmp_path / "data.npy")}})
    monkeypatch.setattr(block, "compute_block", None)
    assert run(read, store).sizes["realization"] == 5
    with pytest.raises(StoreError, match=r"input\.fingerprint"):
        run(LONGER, store, data=data + 1e-9)
    with pytest.raises(RequestError):
        run(LONGER, store)


def test_data_of_a_recipe_may_move(tmp_path):
    data = np.random.default_rng(0).normal(size=(30, 6))
    recipes = []
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", data)
        recipes.append(
            LONGER.replace({"input": {"dataset": "array", "shape": None, "path": str(tmp_path / f"{name}.npy")}})
        )
    run(recipes[0].replace({"realizations": 3}), tmp_path / "s.zarr")
    run(recipes[1], tmp_path / "s.zarr")
    run(recipes[1], tmp_path / "once.zarr")
    assert differences(tmp_path / "s.zarr", tmp_path / "once.zarr") == []


def test_a_sweep_is_a_tree_in_the_order_of_its_list(tmp_path):
    recipe = TINY.replace({"sweep": {"input.batch": [128, 64], "network.weights": ["lecun", "he"]}})
    given = run(recipe, tmp_path / "s.zarr")
    opened = mx.open_cube(tmp_path / "s.zarr")
    names = [f"input.batch={batch},network.weights={weights}" for batch in (128, 64) for weights in ("lecun", "he")]
    for tree in (given, opened, run(recipe)):
        assert list(tree.children) == names
        batches = [int(node["input.batch"]) for node in tree.children.values()]
        laws = [str(node["network.weights"].values) for node in tree.children.values()]
        assert batches == [128, 128, 64, 64]
        assert laws == ["lecun", "he"] * 2
        assert all(node["input.batch"].dims == node["network.weights"].dims == () for node in tree.children.values())
    assert list(json.loads(opened.attrs["sweep"])) == names
    assert mx.Recipe.from_json(opened.attrs["recipe"]).sweep == recipe.sweep


def test_a_node_is_the_cube_of_its_recipe(finished):
    tree = mx.open_cube(finished["swept"])
    for name, node in SWEPT.nodes().items():
        alone = run(node)
        stored = tree[name].to_dataset().drop_vars("input.batch")
        assert same(stored, alone) == []


@pytest.mark.parametrize("batches", [[16, 8, 32], [16, 32, 8]], ids=str)
def test_a_value_added_to_a_sweep_extends_its_store(batches, finished, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["swept"], store)
    recipe = TINY.replace({"sweep": {"input.batch": batches}})
    names = [f"input.batch={batch}" for batch in batches]
    assert list(run(recipe, store).children) == names
    assert list(mx.open_cube(store).children) == names
    run(recipe, tmp_path / "once.zarr")
    assert differences(store, tmp_path / "once.zarr") == []


def test_a_part_of_a_sweep_changes_nothing_and_gives_the_part(finished, no_computation, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(finished["swept"], store)
    before = snapshot(store)
    part = run(TINY.replace({"sweep": {"input.batch": [8]}}), store)
    assert list(part.children) == ["input.batch=8"]
    assert snapshot(store) == before


def test_a_subset_of_a_cube_can_be_saved_and_read(finished, tmp_path):
    ds = mx.open_cube(finished["longer"]).isel(realization=slice(1, 4), layer=[0])
    ds.load().drop_encoding().to_zarr(tmp_path / "part.zarr", zarr_format=3, consolidated=False)
    assert same(xr.open_zarr(tmp_path / "part.zarr", consolidated=False), ds) == []


@pytest.mark.parametrize("use", [mx.open_cube, lambda store: run(TINY, store)])
def test_a_url_is_refused_and_makes_no_folder(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"memory://x/y\.zarr': a URL; stores are folders"):
        use("memory://x/y.zarr")
    assert not list(tmp_path.iterdir())


def test_a_store_that_lacks_a_later_variable_is_extended_without_it(tmp_path, small):
    """Stores of curved activations once had no slope_spread."""
    recipe, store = small("vanilla", realizations=6, network__activation="tanh"), tmp_path / "s.zarr"
    mx.run(recipe, store, progress=False)
    shutil.rmtree(store / "slope_spread")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    whole = mx.run(small("vanilla", realizations=9, network__activation="tanh"), store, progress=False)
    once = mx.run(small("vanilla", realizations=9, network__activation="tanh"), progress=False)
    assert "slope_spread" not in whole
    xr.testing.assert_equal(whole.load(), once.drop_vars("slope_spread"))
    assert "the cube has no slope_spread" in str(mx.classify(whole).sentence.sel(pathology="pseudo_linearity").values)
