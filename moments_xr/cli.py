"""The shell: `moments-xr`. Exit status 0 done, 1 failed, 2 the request was wrong, 3 a pathology was found (DESIGN 7)."""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr
from rich.console import Console
from rich.table import Column, Table

from moments_xr import terminal
from moments_xr.errors import RecipeError, RequestError, StoreError
from moments_xr.quantities import PATHOLOGIES
from moments_xr.recipe import Recipe, recipes
from moments_xr.recipe_files import load_yaml
from moments_xr.terminal import duration, size

app = typer.Typer(
    name="moments-xr",
    help="Is a deep network well-behaved or pathological at initialisation, and why?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = Console()
INTERRUPTED = 130
"""Exit status of a command that the person stopped, as shells have it."""
FOUND = 3
"""Exit status of `analyse` when it found a pathology that it was told to fail on."""

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or a shipped recipe's name.", show_default=False)
]
StoreArgument = Annotated[
    Path, typer.Argument(metavar="STORE", help="A store made by `moments-xr run`.", show_default=False)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be given again.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
NodeOption = Annotated[str | None, typer.Option("--node", help="Which node of a sweep, as `info` lists them.")]


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    pass


@app.command("recipes")
def list_recipes() -> None:
    """The recipes there are, with an estimate of their cost on this machine."""
    from moments_xr.plan import plan

    table = Table("recipe", "about", "realizations", "time here")
    for name, description in recipes().items():
        recipe = _recipe(name)
        try:
            seconds = duration(sum(cost.seconds for cost in plan(recipe)))
        except ImportError:
            seconds = "needs torch"
        table.add_row(name, description, f"{recipe.realizations}", seconds)
    out.print(table)


@app.command()
def plan(recipe: RecipeArgument, changes: SetOption = None, device: DeviceOption = None) -> None:
    """What a recipe would cost: blocks, arithmetic, bytes, estimated time. Runs nothing."""
    from moments_xr.plan import plan as plan_

    loaded = _recipe(recipe, changes, device)
    costs = plan_(loaded)
    table = Table(
        Column("node", no_wrap=True),
        "nets",
        "blocks",
        "TFLOP",
        "draws",
        "memory",
        "store",
        "time here",
        title=loaded.name,
    )
    for cost in costs:
        table.add_row(
            cost.node or "-",
            f"{cost.realizations}",
            f"{cost.blocks} of {cost.block}",
            f"{cost.realizations * cost.flops / 1e12:.3g}",
            f"{cost.realizations * cost.normals:.2g}",
            size(cost.memory),
            size(cost.stored),
            duration(cost.seconds),
        )
    out.print(table)
    if len(costs) > 1:
        out.print(f"together: {duration(sum(c.seconds for c in costs))}, {size(sum(c.stored for c in costs))}")


@app.command()
def run(
    recipe: RecipeArgument,
    store: Annotated[Path | None, typer.Option("--store", help="Default: stores/<recipe's name>.zarr.")] = None,
    changes: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Run a recipe into a store; on a store that is there it resumes, or extends it."""
    from moments_xr.run import run as run_

    loaded = _recipe(recipe, changes, device)
    where = store or Path("stores") / f"{loaded.name}.zarr"
    cube = run_(loaded, where)
    _print_summary(cube)
    out.print(f"store: {where}", soft_wrap=True)


@app.command()
def info(store: StoreArgument) -> None:
    """What a store holds and how complete it is."""
    from moments_xr.store import open_cube, read_attrs

    attrs = read_attrs(store)
    cube = open_cube(store, complete=False)
    nodes = _nodes(cube)
    if "recipe" in attrs:
        recipe = Recipe.from_json(attrs["recipe"])
        out.print(f"[bold]{recipe.name}[/bold]  {recipe.description}", highlight=False)
    table = Table(Column("node", no_wrap=True), "architecture", "done", "layers", "channels", "identity")
    for name, ds in nodes.items():
        layers = ds["layer"].values
        done = int(ds["done"].sum()) if "done" in ds else ds.sizes["realization"]
        table.add_row(
            name or "-",
            _architecture(ds),
            f"{done}/{ds.sizes['realization']}",
            f"{len(layers)} of {layers.min()} to {layers.max()}",
            str(ds.sizes.get("channel", "pooled")),
            str(ds.attrs.get("recipe_identity", "-"))[:12],
        )
    out.print(table)
    stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    versions = [
        f"{tool.replace('_', '-')} {ds.attrs[f'{tool}_version']}"
        for tool in ("moments_xr", "torch", "numpy")
        if f"{tool}_version" in ds.attrs
    ]
    out.print(f"sites {', '.join(str(site) for site in ds['site'].values)}", highlight=False)
    out.print(
        f"{size(stored)} on disk; made with {', '.join(versions) or ds.attrs.get('source', 'unknown')}", highlight=False
    )


@app.command()
def analyse(
    store: StoreArgument,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write everything to a file; its schema: `moments-xr schema --analysis`."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="PATHOLOGY",
            help=f"Exit with status 3 if it is present; may be given again: {', '.join(PATHOLOGIES)}, or any of them.",
        ),
    ] = None,
    node: NodeOption = None,
) -> None:
    """Verdicts with their evidence, fits and a summary."""
    from moments_xr.analysis.report import Report
    from moments_xr.analysis.report import analyse as analyse_
    from moments_xr.analysis.report import node as report_node

    asked = _pathologies(fail_on or [])
    cubes = {node: _node(store, node)} if node else _nodes(_open(store))
    nodes, found = {}, []
    for name, ds in cubes.items():
        if ds.sizes.get("realization") == 0:
            raise StoreError(f"store '{store}': no realization is done yet; `moments-xr run` finishes it")
        results, lacking = analyse_(ds)
        terminal.print_analysis(out, results, ds.sizes.get("realization", 1), name)
        nodes[name] = report_node(ds, results, lacking)
        verdicts = results["classify"]["verdict"]
        found += [(name, pathology) for pathology in asked if verdicts.sel(pathology=pathology) == "present"]
    if json_file is not None:
        report = Report(moments_xr_version=metadata.version("moments-xr"), store=str(store), nodes=nodes)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(report.model_dump_json(indent=1), encoding="utf-8")
        out.print(f"report: {json_file}", soft_wrap=True)
    if found:
        _fail("found " + ", ".join(f"{p} in {n}" if n else p for n, p in found), FOUND)


@app.command()
def figure(
    store: StoreArgument,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="fig2, fig3, fig4 or fig5; the paper's for this architecture if not given."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .html file.")] = None,
    node: NodeOption = None,
) -> None:
    """A figure of the paper, from a store."""
    from moments_xr.plots.papers import figure as figure_
    from moments_xr.plots.save import backend_for, save

    ds = _node(store, node)
    chosen = kind or {"bn_ff": "fig4", "bn_res": "fig5"}.get(_architecture(ds), "fig3")
    path = output or Path("figures") / f"{store.stem}_{chosen}.png"
    save(figure_(ds, chosen, backend_for(path)), path)
    out.print(f"figure: {path}", soft_wrap=True)


@app.command()
def report(
    store: StoreArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="An .html file; default: reports/<store's name>.html.")
    ] = None,
    node: NodeOption = None,
) -> None:
    """One page that stands alone: verdicts, interactive figures, numbers, recipe, versions; no network."""
    from moments_xr.report.page import write_report

    path = output or Path("reports") / f"{'_'.join([store.stem, *([node] if node else [])])}.html"
    cube = _node(store, node) if node else _open(store)
    with Console(stderr=True).status("report") as status:
        write_report(cube, path, store.stem, say=lambda step: status.update(f"report: {step}"))
    out.print(f"report: {path} ({size(path.stat().st_size)})", soft_wrap=True)


@app.command()
def serve(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Paths of stores.", show_default=False)],
    port: Annotated[int, typer.Option("--port", help="0 takes one that is free.")] = 5006,
    address: Annotated[
        str, typer.Option("--address", help="Where to listen: by default, only this machine can connect.")
    ] = "127.0.0.1",
    show: Annotated[bool, typer.Option("--show", help="Open it in the browser.")] = False,
) -> None:
    """The live report of stores, which may be running, in a browser; until Ctrl-C."""
    from moments_xr.report.server import serve as serve_

    server = serve_(stores, port, address, show)
    out.print(f"live report: http://{address}:{server.port}  (Ctrl-C ends it)", soft_wrap=True)
    server.start()
    with suppress(KeyboardInterrupt):
        server.io_loop.start()


@app.command()
def advise(recipe: RecipeArgument, changes: SetOption = None) -> None:
    """Before running: what theory predicts for a network, what is wrong with that, and which changes would mend it."""
    from moments_xr.advice import advise as advise_

    terminal.print_advice(out, advise_(_recipe(recipe, changes)))


@app.command()
def theory(
    activation: Annotated[str, typer.Option("--activation", help="Of what: tanh, relu, …")],
    weight_variance: Annotated[
        float | None, typer.Option("--weight-variance", help="σ_w²: fixed points and depth scales there.")
    ] = None,
    bias_variance: Annotated[float, typer.Option("--bias-variance", help="σ_b².")] = 0.0,
    dropout: Annotated[float, typer.Option("--dropout", help="Chance that an input of a layer is dropped.")] = 0.0,
    critical: Annotated[bool, typer.Option("--critical", help="The edge of chaos: σ_w² at which χ₁ = 1.")] = False,
    phase_diagram: Annotated[
        bool, typer.Option("--phase-diagram", help="Draw c* and ξ_c over σ_w² and σ_b²; with -o.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .png, .svg, .pdf or .html file.")] = None,
) -> None:
    """Mean-field theory of an activation: fixed points, the edge of chaos, the phase diagram."""
    from moments_xr.activations import activation as activation_

    row = activation_(activation)
    if not 0 <= dropout < 1:
        raise RequestError(f"--dropout {dropout:g}: needs to be at least 0 and less than 1")
    if not critical and not phase_diagram and weight_variance is None:
        raise RequestError("theory: give --weight-variance, --critical or --phase-diagram")
    if critical and dropout:
        raise RequestError("--dropout: with dropout there is no edge of chaos: ξ_c is finite everywhere")
    if output is not None and not phase_diagram:
        raise RequestError("-o: what is drawn is the --phase-diagram")
    if weight_variance is not None:
        terminal.print_fixed_point(out, row, weight_variance, bias_variance, 1 - dropout)
    if critical:
        terminal.print_critical_line(out, row, bias_variance)
    if phase_diagram:
        from moments_xr.plots.phase import phase_diagram as draw
        from moments_xr.plots.save import backend_for, save

        path = output or Path("figures") / f"phase_diagram_{row.name}.png"
        with Console(stderr=True).status("phase diagram"):
            save(draw(row, keep=1 - dropout, backend=backend_for(path)), path)
        out.print(f"figure: {path}", soft_wrap=True)


@app.command()
def schema(
    analysis: Annotated[bool, typer.Option("--analysis", help="Of what `analyse --json` writes, instead.")] = False,
) -> None:
    """The JSON Schema of recipes, on standard output."""
    if analysis:
        from moments_xr.analysis.report import Report

        print(json.dumps(Report.model_json_schema(), indent=2))
    else:
        print(json.dumps(Recipe.model_json_schema(), indent=2))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Results of the 2019 code.", show_default=False)],
    store: Annotated[Path, typer.Option("--store", help="The store to make.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="vanilla, bn_ff or bn_res, where the file doesn't tell.")
    ] = None,
) -> None:
    """Results of the 2019 code into a store."""
    from moments_xr.npz import open_npz
    from moments_xr.store import save

    ds = open_npz(file, architecture)
    save(ds, store)
    _print_summary(ds)
    out.print(f"store: {store}", soft_wrap=True)


def main() -> None:
    """The console script: errors that a user can cause are one line, with an exit status of 2 (1 where work failed)."""
    try:
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped; run the same command again to go on", INTERRUPTED)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # of the command line's own parser
            error.show()
            sys.exit(error.exit_code)
        if "--debug" in sys.argv:
            traceback.print_exc()
        _fail(str(error) or type(error).__name__, 2 if isinstance(error, RequestError) else 1)
    else:
        if status == INTERRUPTED:
            _fail("stopped; run the same command again to go on", INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    print(f"moments-xr: {message}", file=sys.stderr)
    sys.exit(status)


def _recipe(source: str, changes: list[str] | None = None, device: str | None = None) -> Recipe:
    """A recipe from a path or a shipped name, with `--set` and `--device` applied."""
    from moments_xr.recipe import recipe as shipped

    assigned: dict[str, Any] = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals:
            raise RecipeError(f"--set {change}: needs KEY=VALUE")
        assigned[key.strip()] = load_yaml(value)
    if device is not None:
        assigned["compute.device"] = device
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return Recipe.from_yaml(path, assigned)
    return shipped(source, assigned)


def _pathologies(names: list[str]) -> list[str]:
    """Names of pathologies, checked; several may be joined by commas."""
    split = [name.strip() for given in names for name in given.split(",")]
    unknown = [name for name in split if name != "any" and name not in PATHOLOGIES]
    if unknown:
        raise RequestError(f"--fail-on {unknown[0]}: not one of any, {', '.join(PATHOLOGIES)}")
    return list(PATHOLOGIES) if "any" in split else split


def _open(store: Path) -> xr.Dataset | xr.DataTree:
    from moments_xr.store import open_cube

    return open_cube(store)


def _node(store: Path, node: str | None) -> xr.Dataset:
    cube = _open(store)
    if isinstance(cube, xr.Dataset):
        return cube
    if node is None or node not in cube.children:
        raise StoreError(
            f"store '{store}': a sweep; choose one of its nodes with --node: {', '.join(map(str, cube.children))}"
        )
    return cube[node].to_dataset()


def _architecture(ds: xr.Dataset) -> str:
    from moments_xr.analysis.sensitivity import architecture

    return architecture(ds).name


def _nodes(cube: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    """The cubes of a store by node; under "" without a sweep."""
    if isinstance(cube, xr.Dataset):
        return {"": cube}
    return {str(name): node.to_dataset() for name, node in cube.children.items()}


def _sites(ds: xr.Dataset) -> str:
    return ", ".join(map(str, ds["site"].values.ravel())) if "site" in ds.coords else "no site"


def _print_summary(cube: xr.Dataset | xr.DataTree) -> None:
    from moments_xr.analysis.summary import summary

    for name, ds in _nodes(cube).items():
        table = summary(ds).compute()
        if table.data_vars:
            out.print(terminal.summary_table(table, ds.sizes.get("realization", 1), name))
        else:
            out.print(
                f"{f'{name}: ' if name else ''}{ds.sizes.get('realization', 1)} realizations; measured at {_sites(ds)}, which has no summary"
            )
