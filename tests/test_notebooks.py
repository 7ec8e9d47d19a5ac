"""Notebooks: kept without outputs; executed from a clean kernel, they show pictures and say what they should."""

import base64
import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import xarray as xr
from matplotlib.image import imread
from nbclient import NotebookClient

import moments_xr as mx

ROOT = Path(__file__).parent.parent
FOLDER, DATA = ROOT / "notebooks", ROOT / "tests" / "data"
NOTEBOOKS = {
    "01_tour": (
        r"exploding_sensitivity: present",
        r"one_dimensional_signal: absent",
        r"fat_tails: undecided",
        r"exponential, γ = 0\.20",
        r"orthogonal weights\none_dimensional_signal: present",
    ),
    "02_figures_of_the_paper": (
        r"increment +1\.2296 +1\.2[23]",
        r"growth: power",
        r"vanilla: one_dimensional_signal",
        r"bn_ff: exploding_sensitivity",
        r"bn_res: well-behaved",
    ),
    "03_decomposition": (r"^\d\.\d+e-1[4-6]$", r"^bn_ff +2[01]\.\d+"),
    "04_sweep_over_width": (
        r"\['network.width=32', 'network.width=64', 'network.width=128'\]",
        r"^128 +-0\.0[12]\d+",
    ),
    "05_files_of_the_2019_code": (
        r"vanilla: one_dimensional_signal",
        r"bn_ff: exploding_sensitivity",
        r"the cube lacks mu2_signal",
        r"γ 0\.206",
        r"all NaN: True",
    ),
    "11_trainable_depth": (
        r"1\.0  ordered +6 ξ_c = 22$",
        r"4\.0  chaotic +6 ξ_c = 42$",
        r"^before training 0\.1\d, depth 10 after it 0\.8\d",
    ),
    "08_batch_norm_explodes": (
        r"^relu +0\.20\d+ +0\.20\d+ +0\.2\d+ +0\.20\d+ +0\.2098 +0\.2004",
        r"^tanh +0\.09\d+ .* 0\.09[67]\d* +0\.0915 +0\.0879",
        r"^elu +0\.05\d+ .* 0\.05\d+ +0\.0527 +0\.0460",
    ),
    "09_residual_nets": (r"100 units: at most 0\.0256 with tanh, 0\.0201 with ReLU",),
    "10_dynamical_isometry": (
        r"100 layers: q\* = 0\.0118, σ_w² = 1\.0232.* deviation 0\.1075",
        r"can't be had with relu and orthogonal weights",
        r"ReLU: 50% of the directions lost",
    ),
    "06_edge_of_chaos": (
        r"weight variance 0\.8: ordered, c\* = 1\.000, depth scale 1\.86 layers",
        r"weight variance 2\.4: chaotic, c\* = 0\.715",
        r"the edge is at 1\.986",
    ),
    "07_dropout_limits_depth": (
        r"dropout 0\.01: depth scale at most 14\.5, trainable to some 87 layers",
        r"dropout 0\.2: depth scale at most 2\.9",
    ),
}
"""What the outputs of each must say."""

PROGRESS = re.compile(r"block \d+/\d+: .* left")
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def test_every_notebook_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_kept_without_outputs(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert all(not cell.metadata for cell in notebook.cells)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_of_a_notebook_lead_somewhere(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (FOLDER / link).is_file(), link


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff"])
def test_published_curves_are_those_of_the_files(architecture: str) -> None:
    """Means over all 200 nets, within the scatter of the 20 that are kept with the tests."""
    file = {"vanilla": "vanilla_fc.npz", "bn_ff": "bn_ff_fc_64.npz"}[architecture]
    ds = mx.open_npz(DATA / file, architecture)
    published = xr.load_dataset(FOLDER / "published.nc").sel(architecture=architecture)
    kept = {
        "increment": ds.moments.increments(),
        "chi": ds.moments.chi().sel(site="act"),
        "reff_signal": ds.moments.effective_rank("signal").sel(site="act"),
    }
    if architecture == "bn_ff":
        steps = ds.moments.increments(by="step")
        kept |= {f"increment_{step}": steps.sel(step=step) for step in ("bn", "act")}
        kept["reff_noise"] = ds.moments.effective_rank("noise").sel(site="act")
        kept |= {"mu4": ds.moments.mu4().sel(site="norm"), "nu1_abs": ds.moments.nu1_abs().sel(site="norm")}
    for name, values in kept.items():
        error = values.std("realization", ddof=1) / values.sizes["realization"] ** 0.5
        distance = (values.mean("realization") - published[name].sel(statistic="mean")) / error
        assert abs(distance).max() < 5, name
        assert (published[name].sel(statistic="p16") <= published[name].sel(statistic="p84")).all()


@pytest.mark.notebook
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_from_a_clean_kernel(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns("stores", "reports", ".*"))
    shutil.copytree(DATA, tmp_path / "tests" / "data")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    complaints = "".join(output.text for output in outputs if output.get("name") == "stderr")
    assert not [line for line in complaints.splitlines() if not PROGRESS.fullmatch(line)]
    text = ESCAPES.sub("", "\n".join(map(said, outputs)))
    assert "Warning" not in text
    for expected in NOTEBOOKS[name]:
        assert re.search(expected, text, re.MULTILINE), expected
    pictures = [picture for output in outputs for picture in shown(output)]
    assert pictures
    for picture in pictures:
        pixels = imread(io.BytesIO(base64.b64decode(picture)), format="png")
        assert min(pixels.shape[:2]) > 300 and pixels[..., :3].std() > 0.05  # sharp, and not blank


def said(output: Any) -> str:
    """What an output says in plain text."""
    return str(output.get("text") or output.get("data", {}).get("text/plain") or "").strip("\n")


def shown(output: Any) -> list[str]:
    """PNG pictures that an output shows, in base64."""
    data = output.get("data", {})
    inline = re.findall(r"data:image/png;base64,([^'\"]+)", data.get("text/html", ""))
    return inline + ([data["image/png"]] if "image/png" in data else [])
