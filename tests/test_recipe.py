import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_cli import shell

import moments_xr as mx
from moments_xr.errors import RecipeError, RequestError
from moments_xr.recipe_files import load_yaml

SMALL = """\
name: small
realizations: 3
input: {dataset: gaussian, shape: [20], batch: 8}
network: {architecture: bn_ff, depth: 6, width: 12, kernel: 1}
"""
IMAGES = {"network.kernel": 3, "input.shape": [8, 8, 2]}
ABSENT = ...


def values(changes, text=SMALL):
    """The mapping of a recipe with dotted keys set, or taken out if ABSENT."""
    tree = yaml.safe_load(text)
    for key, value in changes.items():
        *parents, last = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        if value is ABSENT:
            branch.pop(last, None)
        else:
            branch[last] = value
    return tree


def recipe(**changes):
    return mx.Recipe(**values({key.replace("__", "."): value for key, value in changes.items()}))


def on_disk(dataset, path, **more):
    return {"input.dataset": dataset, "input.shape": ABSENT, "input.path": path, **more}


BROKEN = [
    # unknown keys, at every level
    ({"nam": "x"}, "nam: unknown key", "did you mean 'name'?"),
    ({"network.widht": 3}, "network.widht: unknown key", "did you mean 'width'?"),
    ({"input.bach": 3}, "input.bach: unknown key", "did you mean 'batch'?"),
    ({"measure.evry": 3}, "measure.evry: unknown key", "did you mean 'every'?"),
    ({"compute.devise": "cpu"}, "compute.devise: unknown key", "did you mean 'device'?"),
    ({"network.weights": {"varianc": 1}}, "network.weights.varianc: unknown key", "did you mean 'variance'?"),
    ({"zzz": 1}, "zzz: unknown key", "there are name, description, seed"),
    # missing
    *(
        ({key: ABSENT}, f"{key}: missing")
        for key in (
            "name",
            "realizations",
            "input",
            "network",
            "input.dataset",
            "network.architecture",
            "network.depth",
            "network.width",
            "network.kernel",
        )
    ),
    ({"input.shape": ABSENT}, "input.shape: missing", "gaussian", "[*space, channels]", "[features]"),
    (on_disk("cifar10", ABSENT), "input.path: missing", "cifar10"),
    (on_disk("mnist", ABSENT), "input.path: missing", "mnist"),
    (on_disk("array", ABSENT), "input.path: missing", "array"),
    # types
    ({"realizations": 2.5}, "realizations: 2.5", "whole number"),
    ({"realizations": "3"}, "realizations: '3'", "whole number"),
    ({"realizations": True}, "realizations: True", "whole number"),
    ({"network.width": "wide"}, "network.width: 'wide'", "whole number"),
    ({"network.depth": 6.0}, "network.depth: 6.0", "whole number"),
    ({"network.epsilon": "small"}, "network.epsilon: 'small'", "number"),
    ({"network.epsilon": "0.1"}, "network.epsilon: '0.1'", "number"),
    ({"network.epsilon": True}, "network.epsilon: True", "number"),
    ({"network.weights": {"variance": True}}, "network.weights.variance: True", "number"),
    ({"network.epsilon": None}, "network.epsilon: None", "number"),
    ({"input.shape": 20}, "input.shape: 20"),
    ({"input.shape": ["a"]}, "input.shape", "'a'", "whole number"),
    ({"network": None}, "network: None"),
    ({"measure": 5}, "measure: 5"),
    ({"name": 5}, "name: 5", "string"),
    ({"description": None}, "description: None", "string"),
    ({"sweep": 5}, "sweep: 5"),
    ({"sweep": {"input.batch": 8}}, "sweep", "input.batch", "8", "list"),
    ({"sweep": {5: [1]}}, "sweep", "5"),
    # not in the list
    ({"network.architecture": "bn_rez"}, "network.architecture: 'bn_rez'", "vanilla, bn_ff, bn_res", "did you mean"),
    ({"network.architecture": ["bn_ff"]}, "network.architecture: ['bn_ff']", "vanilla, bn_ff, bn_res"),
    ({"network.boundary": "mirror"}, "network.boundary: 'mirror'", "periodic, symmetric, zero"),
    ({"network.activation": "gelou"}, "network.activation: 'gelou'", "relu"),
    ({"input.dataset": "cifar"}, "input.dataset: 'cifar'", "did you mean 'cifar10'?"),
    ({"network.weights": "hee"}, "network.weights: 'hee'", "he, lecun", "law and variance"),
    ({"network.weights": {"law": "cauchy"}}, "network.weights.law: 'cauchy'", "gaussian"),
    ({"network.weights": 2.0}, "network.weights: 2.0"),
    ({"compute.precision": "float16"}, "compute.precision: 'float16'", "auto, float32, float64"),
    ({"compute.device": "gpu"}, "compute.device: 'gpu'", "auto, cpu, cuda, cuda:N"),
    ({"compute.device": "cuda:9999"}, "compute.device: 'cuda:9999'", "CUDA devices"),
    ({"compute.block": "big"}, "compute.block: 'big'", "whole number"),
    ({"measure.channels": "none"}, "measure.channels: 'none'", "mean, all"),
    ({"measure.moments": ["nu3_signal"]}, "measure.moments: ['nu3_signal']", "nu2_signal"),
    ({"measure.moments": [["nu2_signal"]]}, "measure.moments: [['nu2_signal']]"),
    ({"measure.sites": ["norms"]}, "measure.sites: ['norms']", "input, conv, norm, act, sum"),
    ({"measure.sites": []}, "measure.sites: []"),
    ({"measure.effective_rank": "signal"}, "measure.effective_rank: 'signal'", "list"),
    ({"measure.effective_rank": ["data"]}, "measure.effective_rank: ['data']", "signal, noise"),
    ({"measure.effective_rank": [["signal"]]}, "measure.effective_rank: [['signal']]"),
    # limits
    ({"realizations": 0}, "realizations: 0", "greater than or equal to 1"),
    ({"seed": -1}, "seed: -1", "greater than or equal to 0"),
    ({"input.scale": 0}, "input.scale: 0", "greater than 0"),
    ({"input.scale": math.inf}, "input.scale: inf", "finite"),
    ({"input.scale": 1e13}, "input.scale: 1e+13", "from 1e-12 to 1e12"),
    ({"input.batch": 0}, "input.batch: 0", "greater than or equal to 1"),
    ({"network.depth": 0}, "network.depth: 0", "greater than or equal to 1"),
    ({"network.width": 0}, "network.width: 0", "greater than or equal to 1"),
    ({"network.kernel": 0}, "network.kernel: 0", "greater than or equal to 1"),
    ({"network.epsilon": -1e-3}, "network.epsilon: -0.001", "greater than or equal to 0"),
    ({"network.epsilon": math.inf}, "network.epsilon: inf", "finite"),
    ({"network.epsilon": math.nan}, "network.epsilon: nan", "finite"),
    ({"network.bias_variance": -1.0}, "network.bias_variance: -1.0", "greater than or equal to 0"),
    ({"network.weights": {"variance": 0}}, "network.weights.variance: 0", "greater than 0"),
    ({"network.weights": {"variance": math.inf}}, "network.weights.variance: inf", "finite"),
    ({"input.spectrum": -1.0}, "input.spectrum: -1.0", "greater than or equal to 0"),
    ({"input.spectrum": math.nan}, "input.spectrum: nan"),
    ({"input.shape": []}, "input.shape: []", "[features]"),
    ({"input.shape": [0]}, "input.shape", "0", "greater than or equal to 1"),
    ({"input.shape": [2, 2, 2, 2, 2]}, "input.shape: [2, 2, 2, 2, 2]"),
    ({"measure.every": 0}, "measure.every: 0", "greater than or equal to 1"),
    ({"measure.branches": -1}, "measure.branches: -1", "greater than or equal to 0"),
    ({"measure.branches": 1}, "measure.branches: 1", "0 or at least 2"),
    ({"compute.block": 0}, "compute.block: 0", "at least 1"),
    ({"name": ""}, "name: ''"),
    ({"name": "a/b"}, "name: 'a/b'"),
    # combinations
    ({"network.boundary": "symmetric", **IMAGES, "network.kernel": 4}, "network.boundary: 'symmetric'", "odd kernel", "4"),
    ({"network.unit_depth": 2}, "network.unit_depth: 2", "bn_res only", "'bn_ff'"),
    ({"network.architecture": "bn_res", "network.unit_depth": None}, "network.unit_depth", "bn_res", "at least 1"),
    ({"network.architecture": "bn_res", "network.unit_depth": 0}, "network.unit_depth: 0", "greater than or equal to 1"),
    ({"measure.every": 7}, "measure.every: 7", "larger than network.depth, 6"),
    ({"measure.sites": ["sum"]}, "measure.sites: 'sum'", "bn_ff", "input, conv, norm, act"),
    ({"input.batch": 1}, "input.batch: 1", "at least 2"),
    (on_disk("digits", ABSENT, **{"input.batch": 1798}), "input.batch: 1798", "1797 samples", "digits"),
    ({"network.kernel": 3}, "input.shape: [20]", "network.kernel is 3"),
    ({"network.kernel": 9, "input.shape": [16, 8, 2]}, "network.kernel: 9", "larger", "(16, 8, 2)"),
    (on_disk("digits", ABSENT, **{"network.kernel": 9}), "network.kernel: 9", "larger", "(8, 8, 1)"),
    ({"input.dataset": "digits"}, "input.shape", "20", "gaussian", "'digits'"),
    (on_disk("digits", ABSENT, **{"input.spectrum": 1.0}), "input.spectrum: 1.0", "gaussian", "'digits'"),
    (on_disk("photos", "/x"), "input.path: '/x'", "photos"),
    ({"input.path": "/x"}, "input.path: '/x'", "gaussian"),
    (on_disk("cifar10", "/no/where"), "input.path", "'/no/where'", "data_batch_1.bin", "https://"),
    (on_disk("mnist", "/no/where"), "input.path", "'/no/where'", "train-images", "http"),
    ({"input.fingerprint": "f" * 64}, "input.fingerprint", "gaussian"),
    (on_disk("array", "/no/where.npy"), "input.path", "'/no/where.npy'", "does not exist", ".npy"),
    # sweeps
    ({"sweep": {}}, "sweep", "no value"),
    ({"sweep": []}, "sweep"),
    ({"sweep": [{}]}, "sweep"),
    ({"sweep": {"input.batch": []}}, "sweep", "input.batch", "no value"),
    ({"sweep": {"input.bach": [8]}}, "sweep", "input.bach: unknown key", "did you mean 'batch'?"),
    ({"sweep": {"input.batch": [8, 1]}}, "sweep", "input.batch=1", "at least 2"),
    ({"sweep": {"input.batch": [8, 8]}}, "sweep", "input.batch=8", "twice"),
    ({"sweep": [{"input.batch": 8}, {"seed": 1}]}, "sweep", "same keys"),
    ({"sweep": {"network": [{"width": 4}]}}, "sweep", "network"),
    ({"sweep": {"network.weights": [{"variance": 1.5}, "he"]}}, "sweep", "network.weights"),
    ({"sweep": {"input.shape": [[20], [30]]}}, "sweep", "input.shape"),
    (on_disk("digits", ABSENT, sweep={"input.path": ["a/b.npy"]}), "sweep", "input.path"),
    *(
        ({"sweep": {key: [value]}}, "sweep", f"'{key}'", "can't be swept")
        for key, value in (
            ("name", "x"),
            ("description", "x"),
            ("realizations", 2),
            ("compute.block", 2),
            ("compute.precision", "float64"),
            ("sweep", {}),
        )
    ),
]  # fmt: skip


def name_of(case):
    return re.sub(r"[^\w.=-]+", "-", " ".join(f"{key}={value}" for key, value in case[0].items()))[:60]


@pytest.mark.parametrize("case", BROKEN, ids=name_of)
def test_a_broken_rule_is_one_line_with_key_value_and_rule(case, tmp_path):
    changes, *words = case
    file, store = tmp_path / "bad.yaml", tmp_path / "bad.zarr"
    file.write_text(yaml.safe_dump(values(changes)))
    with pytest.raises(RequestError):
        mx.run(mx.Recipe.from_yaml(file), store, progress=False)
    status, out, err = shell("run", file, "--store", store)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert [word for word in words if word not in err] == [], err
    assert list(tmp_path.iterdir()) == [file]


FILES = {
    "twice": (SMALL + "seed: 1\nseed: 2\n", "seed: given twice"),
    "twice-nested": (SMALL + "measure: {every: 2, every: 3}\n", "every: given twice"),
    "not-yaml": ("name: [1, 2", "not valid YAML"),
    "python-tag": ("name: !!python/object/apply:os.getcwd []", "not valid YAML"),
    "date": (SMALL + "description: 2019-13-45\n", "bad.yaml"),
    "not-text": (b"\xff\xfe\x00", "bad.yaml"),
    "empty": ("", "needs a mapping"),
    "list": ("- 1", "needs a mapping"),
    "number-as-key": (SMALL + "5: 1\n", "5"),
    "number-as-nested-key": (SMALL.replace("batch: 8", "batch: 8, 5: 1"), "input.5"),
    "extends-missing": ("extends: nothing.yaml\n", "extends", "nothing.yaml", "no such file"),
    "extends-itself": ("extends: bad.yaml\n", "extends", "bad.yaml", "itself"),
    "extends-a-number": ("extends: 5\n", "extends: 5"),
    "extends-misspelt": ("extends: quickstrt\n", "quickstrt", "did you mean 'quickstart'?"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_one_line(case, tmp_path):
    text, *words = FILES[case]
    file, store = tmp_path / "bad.yaml", tmp_path / "bad.zarr"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError):
        mx.Recipe.from_yaml(file)
    status, out, err = shell("run", file, "--store", store)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert [word for word in words if word not in err] == [], err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.yaml"], ["nothing.yaml", "no such file"]),
        (["quickstrt"], ["quickstrt", "did you mean 'quickstart'?"]),
        (["quickstart", "--set", "realizations"], ["--set realizations", "KEY=VALUE"]),
        (["quickstart", "--set", "realizations=[1"], ["not valid YAML"]),
        (["quickstart", "--set", "realizations=2.5"], ["realizations: 2.5", "whole number"]),
        (["quickstart", "--set", "network.widht=3"], ["network.widht: unknown key"]),
        (["quickstart", "--set", "name.x=3"], ["name"]),
        (["quickstart", "--set", "=3"], ["unknown key"]),
        (["quickstart", "--device", "gpu"], ["compute.device: 'gpu'"]),
    ],
    ids=lambda words: "-".join(words).strip("-")[:30],
)
def test_bad_arguments_are_one_line(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = shell("run", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert [word for word in words if word not in err] == [], err
    assert not list(tmp_path.iterdir())


def test_every_broken_rule_has_a_line(tmp_path):
    with pytest.raises(RecipeError) as error:
        recipe(network__depth=0, input__batch=0, seed=-1)
    assert sorted(line.split(":")[0] for line in str(error.value).splitlines()) == [
        "input.batch",
        "network.depth",
        "seed",
    ]


def test_the_installed_command_refuses_a_bad_recipe(tmp_path):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values({"network.architecture": "bn_rez"})))
    command = [Path(sys.executable).with_name("moments-xr"), "run", "bad.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "did you mean 'bn_res'?" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(
    "changes", [on_disk("digits", ABSENT, **{"input.batch": 1798}), {**IMAGES, "network.kernel": 9}]
)
def test_plan_refuses_what_run_refuses(changes):
    with pytest.raises(RequestError):
        mx.plan(mx.Recipe(**values(changes)))


def test_defaults():
    default = mx.Recipe(**values({"input.batch": ABSENT}))
    network, measure, compute = default.network, default.measure, default.compute
    assert (default.seed, default.input.batch, default.description, default.sweep) == (0, 64, "", None)
    assert (network.boundary, network.activation, network.epsilon, network.bias_variance) == (
        "periodic",
        "relu",
        1e-3,
        0,
    )
    assert (network.weights.law, network.weights.variance, network.unit_depth) == ("gaussian", 2.0, None)
    assert recipe(network__architecture="bn_res").network.unit_depth == 2
    assert (measure.every, measure.channels, measure.moments, measure.sites) == (1, "mean", "all", "all")
    assert (measure.effective_rank, measure.branches) == (("signal",), 0)
    assert (compute.device, compute.precision, compute.block) == ("auto", "auto", "auto")


def test_weights_shorthands():
    assert recipe(network__weights="he").network.weights == recipe(network__weights={"variance": 2}).network.weights
    assert recipe(network__weights="lecun").network.weights.variance == 1
    half = recipe(network__weights="lecun").replace({"network.weights.variance": 0.5})
    assert (half.network.weights.law, half.network.weights.variance) == ("gaussian", 0.5)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 1e-3),
        ("1.5e2", 150.0),
        ("-2E+1", -20.0),
        (".5e1", 5.0),
        ("1.e3", 1e3),
        ("1_0e1", 100.0),
        ("1.0e-3", 1e-3),
    ],
)
def test_numbers_with_an_exponent_are_numbers(text, number):
    assert load_yaml(text) == number
    assert isinstance(load_yaml(f"[{text}]")[0], float)


@pytest.mark.parametrize("text", ["1e", "e3", "1e-3x", "'1e-3'", "0x1e3z"])
def test_other_text_stays_text(text):
    assert isinstance(load_yaml(text), str)


def test_epsilon_from_yaml_and_set(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(SMALL.replace("kernel: 1", "kernel: 1, epsilon: 1e-5"))
    assert mx.Recipe.from_yaml(file).network.epsilon == 1e-5
    status, _, err = shell("plan", file, "--set", "network.epsilon=1e-4", "--set", "realizations=2")
    assert (status, err) == (0, "")


def test_extends_merges_deeply_from_a_relative_path(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text(SMALL + "sweep: {input.batch: [4, 8]}\nseed: 3\n")
    (tmp_path / "sub" / "middle.yaml").write_text("extends: ../base.yaml\nnetwork: {width: 5}\nmeasure: {every: 2}\n")
    (tmp_path / "sub" / "last.yaml").write_text(
        "extends: middle.yaml\nname: last\nsweep: {seed: [1, 2]}\nmeasure: {branches: 2}\n"
    )
    last = mx.Recipe.from_yaml(tmp_path / "sub" / "last.yaml")
    assert (last.name, last.seed, last.network.width, last.network.depth) == ("last", 3, 5, 6)
    assert (last.measure.every, last.measure.branches) == (2, 2)
    assert last.sweep == {"seed": [1, 2]}


def test_extends_a_shipped_recipe_by_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: quickstart\nname: mine\nnetwork: {depth: 4}\n")
    mine, shipped = mx.Recipe.from_yaml(tmp_path / "mine.yaml"), mx.recipe("quickstart")
    assert (mine.name, mine.network.depth) == ("mine", 4)
    assert mine.replace({"name": "quickstart", "network.depth": shipped.network.depth}) == shipped


def test_changes_come_after_extends(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: quickstart\nnetwork: {depth: 4}\n")
    changed = mx.Recipe.from_yaml(tmp_path / "mine.yaml", {"network.depth": 3, "network.weights": "lecun"})
    assert (changed.network.depth, changed.network.weights.variance) == (3, 1.0)


def test_replace_leaves_the_original_and_validates():
    first = recipe()
    second = first.replace({"network.width": 24, "measure.every": 3})
    assert (first.network.width, second.network.width, second.measure.every) == (12, 24, 3)
    assert second.replace({"network.width": 12, "measure.every": 1}).identity() == first.identity()
    with pytest.raises(RecipeError, match=r"measure\.every"):
        first.replace({"measure.every": 7})
    with pytest.raises(ValueError, match="frozen"):
        first.seed = 3


VARIETY = {
    "small": {},
    "images": {**IMAGES, "network.boundary": "symmetric", "input.spectrum": 1.5},
    "residual": {"network.architecture": "bn_res", "network.unit_depth": 3, "network.epsilon": 1e-7},
    "lists": {"measure": {"moments": ["mu2_noise", "nu2_signal"], "sites": ["act"], "effective_rank": []}},
    "computed": {"compute": {"device": "cpu", "precision": "float64", "block": 2}, "description": "ν₂ – “quoted”: yes"},
    "weights": {"network.weights": {"variance": 1.7}, "network.bias_variance": 0.1},
    "product": {"sweep": {"input.batch": [16, 8], "network.weights": ["he", "lecun"]}},
    "points": {"sweep": [{"input.batch": 16, "network.depth": 8}, {"input.batch": 8, "network.depth": 9}]},
}


@pytest.mark.parametrize("name", VARIETY)
def test_round_trips(name, tmp_path):
    before = mx.Recipe(**values(VARIETY[name]))
    file = tmp_path / "r.yaml"
    file.write_text(before.to_yaml(), encoding="utf-8")
    for after in (mx.Recipe.from_yaml(file), mx.Recipe.from_json(before.to_json())):
        assert after == before
        assert after.to_json() == before.to_json()
        assert [node.identity() for node in after.nodes().values()] == [
            node.identity() for node in before.nodes().values()
        ]


def test_a_sweep_of_lists_is_their_product_in_order():
    nodes = recipe(sweep={"input.batch": [16, 8], "network.weights": ["he", "lecun"]}).nodes()
    assert list(nodes) == [
        "input.batch=16,network.weights=he",
        "input.batch=16,network.weights=lecun",
        "input.batch=8,network.weights=he",
        "input.batch=8,network.weights=lecun",
    ]
    assert [(node.input.batch, node.network.weights.variance) for node in nodes.values()] == [
        (16, 2),
        (16, 1),
        (8, 2),
        (8, 1),
    ]
    assert all(node.sweep is None and node.name == "small" for node in nodes.values())


def test_a_sweep_of_mappings_is_its_points():
    nodes = recipe(sweep=[{"network.depth": 8, "seed": 1}, {"network.depth": 7, "seed": 2}]).nodes()
    assert list(nodes) == ["network.depth=8,seed=1", "network.depth=7,seed=2"]
    assert [(node.network.depth, node.seed) for node in nodes.values()] == [(8, 1), (7, 2)]
    assert nodes["network.depth=8,seed=1"].identity() == recipe(network__depth=8, seed=1).identity()


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_pinned_identities():
    small = recipe()
    rich = mx.Recipe(
        name="rich",
        seed=7,
        realizations=5,
        input={"dataset": "photos", "batch": 32},
        network={
            "architecture": "bn_res", "depth": 9, "width": 10, "kernel": 3, "unit_depth": 3, "boundary": "symmetric",
            "weights": "lecun", "bias_variance": 0.5, "epsilon": 1e-5,
        },
        measure={"every": 3, "channels": "all", "moments": ["mu2_noise", "nu2_signal"], "sites": ["sum", "input"], "branches": 2},
        compute={"precision": "float64"},
    )  # fmt: skip
    read = recipe(input={"dataset": "array", "path": "a.npy", "fingerprint": "f" * 64}, measure__effective_rank=[])
    assert small.identity() == "c9df96f8d9b1b97d2fba8d35cbc81d81a062683814b6d5f2a6ea5bb0252cddbd"
    assert rich.identity() == "ef78392b7e929353a06ce771704b114d4f3f964197794a1ac8362311124d5af3"
    assert read.identity() == "567f9ae7cb2db21554bf73d2806441e4db82c4b11b601b506105167c325e0d26"
    canonical = '{"input":{"batch":8,"dataset":"gaussian","shape":[20]},"network":{"architecture":"bn_ff","depth":6,"kernel":1,"width":12},"sampler":1}'
    assert small.identity() == sha256(canonical)


SAME = {
    "name": {"name": "other"},
    "description": {"description": "other"},
    "realizations": {"realizations": 7},
    "device": {"compute": {"device": "cpu"}},
    "block": {"compute": {"block": 2}},
    "float32": {"compute": {"precision": "float32"}},
    "defaults": {
        "seed": 0, "network.boundary": "periodic", "network.activation": "relu", "network.bias_variance": 0,
        "network.epsilon": 0.001, "network.unit_depth": None,
        "measure": {"every": 1, "channels": "mean", "moments": "all", "sites": "all", "effective_rank": ["signal"], "branches": 0},
    },
    "he": {"network.weights": "he"},
    "law": {"network.weights": {"law": "gaussian", "variance": 2}},
    "variance": {"network.weights": {"variance": 2.0}},
    "all-moments": {"measure": {"moments": ["mu4_noise", "mu2_noise", "mu4_signal", "mu2_signal", "nu2_signal", "nu1_abs_signal", "nu1_signal"]}},
    "all-sites": {"measure": {"sites": ["act", "input", "norm", "conv"]}},
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_identity_leaves_out(name):
    assert mx.Recipe(**values(SAME[name])).identity() == recipe().identity()


def test_identity_knows_defaults_and_orders():
    residual = recipe(network__architecture="bn_res")
    assert residual.replace({"network.unit_depth": 2}).identity() == residual.identity()
    moments = [
        recipe(measure={"moments": order}).identity()
        for order in (["nu2_signal", "mu2_noise"], ["mu2_noise", "nu2_signal"])
    ]
    assert moments[0] == moments[1] != recipe().identity()
    ranks = [
        recipe(measure={"effective_rank": order}).identity() for order in (["signal", "noise"], ["noise", "signal"])
    ]
    assert ranks[0] == ranks[1]


DIFFERENT = {
    "seed": 1, "input.batch": 9, "input.scale": 0.5, "input.shape": [21], "input.spectrum": 1.0, "network.architecture": "vanilla", "network.depth": 7,
    "network.width": 13, "network.boundary": "zero", "network.weights": {"variance": 2.5}, "network.bias_variance": 0.1,
    "network.epsilon": 0.0, "measure.every": 2, "measure.channels": "all", "measure.moments": ["nu2_signal"],
    "measure.sites": ["act"], "measure.effective_rank": [], "measure.branches": 2, "compute.precision": "float64",
}  # fmt: skip


def test_identity_feels_every_other_key():
    identities = {key: mx.Recipe(**values({key: value})).identity() for key, value in DIFFERENT.items()}
    identities |= {"": recipe().identity(), "kernel": mx.Recipe(**values(IMAGES)).identity()}
    identities["depth"] = recipe(network__architecture="bn_res", network__unit_depth=2).identity()
    identities["unit_depth"] = recipe(network__architecture="bn_res", network__unit_depth=3).identity()
    assert len(set(identities.values())) == len(identities)


def test_identity_has_the_data_instead_of_their_path(tmp_path):
    data = np.random.default_rng(0).normal(size=(20, 5))
    np.save(tmp_path / "a.npy", data)
    np.savez(tmp_path / "b.npz", data=data)
    np.save(tmp_path / "c.npy", data + 1e-9)
    identities = [
        recipe(input={"dataset": "array", "path": str(tmp_path / name)}).identity()
        for name in ("a.npy", "b.npz", "c.npy")
    ]
    assert identities[0] == identities[1] != identities[2]


def test_data_that_are_not_those_of_the_fingerprint_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(20, 5)))
    read = recipe(input={"dataset": "array", "path": str(tmp_path / "a.npy"), "batch": 8, "fingerprint": "0" * 64})
    with pytest.raises(RequestError, match=r"input\.fingerprint: 0000"):
        mx.run(read, tmp_path / "s.zarr", progress=False)
    assert not (tmp_path / "s.zarr").exists()


def test_shipped_recipes():
    shipped = mx.recipes()
    assert "quickstart" in shipped
    for name, description in shipped.items():
        one = mx.recipe(name)
        assert one.name == name
        assert description == one.description != ""
        assert all(node.layers for node in one.nodes().values())


def test_json_schema_has_every_key():
    schema = mx.Recipe.model_json_schema()
    assert set(schema["required"]) == {"name", "realizations", "input", "network"}
    assert set(schema["properties"]) == set(mx.Recipe.model_fields)
    sections = {
        "Input": ["dataset"],
        "Network": ["architecture", "depth", "width", "kernel"],
        "Measure": [],
        "Compute": [],
        "Weights": [],
    }
    for name, required in sections.items():
        section = schema["$defs"][name]
        assert section["additionalProperties"] is False
        assert section.get("required", []) == required


def test_json_schema_accepts_shipped_recipes_and_refuses_bad_ones():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(mx.Recipe.model_json_schema())
    for name in mx.recipes():
        validator.validate(json.loads(mx.recipe(name).to_json()))
    for changes in VARIETY.values():
        validator.validate(values(changes))
    for changes in (
        {"network.widht": 3}, {"network.architecture": "bn_rez"}, {"network.depth": 0}, {"realizations": "3"}, {"name": ABSENT},
        {"input.dataset": "cifar"}, {"network.weights": "hee"}, {"measure.effective_rank": ["data"]}, {"compute.block": 0},
        {"compute.device": "gpu"}, {"measure.moments": ["nu3"]}, {"network.epsilon": -1.0}, {"sweep": 5},
    ):  # fmt: skip
        assert not validator.is_valid(values(changes)), changes


def test_recipes_show_in_a_notebook():
    html = recipe(description="a < b")._repr_html_()
    assert "a &lt; b" in html
    assert "architecture: bn_ff" in html
