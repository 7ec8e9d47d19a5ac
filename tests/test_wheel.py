"""The wheel, installed in a clean environment with nothing but its own requirements (no torch, no plots)."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import moments_xr as mx

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.wheel]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Interpreter of an environment with the wheel installed, away from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return python


def shell(python, *arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python.with_name("moments-xr"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def test_recipes_come_in_the_wheel(clean, tmp_path):
    code = "import moments_xr as mx; print(*sorted(mx.recipes())); print(mx.recipe('fig4_fc').network.width)"
    printed = subprocess.run(
        [clean, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout.split("\n")
    assert printed[0].split() == sorted(mx.recipes())
    assert printed[1] == "512"


def test_without_torch_running_names_the_extra_and_reading_works(clean, tmp_path):
    done = shell(clean, "run", "quickstart", cwd=tmp_path)
    assert done.returncode == 1
    assert 'pip install "moments-xr[run]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "stores").exists()
    recipe = mx.recipe("quickstart", {"realizations": 2, "network.depth": 5})
    mx.run(recipe, tmp_path / "q.zarr", progress=False)
    assert "2/2" in shell(clean, "info", "q.zarr", cwd=tmp_path).stdout
    code = "import moments_xr as mx; ds = mx.open_cube('q.zarr'); print(float(ds.moments.summary().chi.sel(layer=5, statistic='median')))"
    median = float(subprocess.run([clean, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert median == pytest.approx(
        float(mx.open_cube(tmp_path / "q.zarr").moments.summary().chi.sel(layer=5, statistic="median"))
    )


def test_the_reader_of_published_files_is_registered(clean, tmp_path):
    file = ROOT / "tests" / "data" / "bn_ff_fc_64.npz"
    code = f"import xarray as xr; print(xr.open_dataset({str(file)!r}, engine='moments_dnns', architecture='bn_ff').sizes['layer'])"
    assert (
        subprocess.run([clean, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout.strip()
        == "100"
    )
    imported = shell(clean, "import", file, "--architecture", "bn_ff", "--store", "published.zarr", cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert "bn_ff" in shell(clean, "info", "published.zarr", cwd=tmp_path).stdout


def test_plotting_without_holoviews_names_the_extra(clean, tmp_path):
    file = ROOT / "tests" / "data" / "bn_ff_fc_64.npz"
    shell(clean, "import", file, "--architecture", "bn_ff", "--store", "published.zarr", cwd=tmp_path)
    for command in ("figure", "report"):
        done = shell(clean, command, "published.zarr", cwd=tmp_path)
        assert done.returncode == 1
        assert 'pip install "moments-xr[plot]"' in done.stderr
        assert "Traceback" not in done.stderr
