"""What to run: frozen models, YAML in and out, inheritance, sweeps and identity (DESIGN 2)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from moments_xr import datasets
from moments_xr.activations import ACTIVATIONS, ALIASES
from moments_xr.errors import RecipeError
from moments_xr.quantities import ARCHITECTURES, LAWS, MOMENTS, SITES
from moments_xr.recipe_fields import (
    SHORTHANDS,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Whole,
    block_size,
    device_name,
    expand_weights,
    explain,
    one_of,
    selection,
    sweep_form,
    tensors,
)
from moments_xr.recipe_files import assign, folder, read, shipped

SAMPLER = 1
"""Version of the rule by which a realization's stream becomes draws; part of a recipe's identity."""

IN_MEMORY = "(in memory)"
"""The `input.path` of data handed over as an array."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Input(Section):
    """Where signals come from."""

    dataset: Annotated[str, one_of(datasets.DATASETS)] = Field(description="a data set's name")
    path: str | None = Field(None, description="file or folder of data sets that are read from disk")
    shape: tuple[Count, ...] | None = Field(None, description="gaussian: [*space, channels], or [features]")
    spectrum: NotNegative | None = Field(None, description="gaussian: exponent a of a power-law spectrum 1/f^a")
    batch: Count = Field(64, description="samples, drawn without replacement")
    scale: Positive = Field(1.0, description="times the standardised samples")
    fingerprint: str | None = Field(
        None, description="SHA-256 of the data behind `path`; a run checks it, or fills it in"
    )

    @model_validator(mode="after")
    def _rules(self) -> Self:
        gaussian, on_disk = self.dataset == "gaussian", self.dataset in ("cifar10", "mnist", "array")
        if gaussian and self.shape is None:
            raise ValueError("input.shape: missing; data set 'gaussian' needs [*space, channels], or [features]")
        for key in ("shape", "spectrum"):
            if not gaussian and getattr(self, key) is not None:
                raise ValueError(
                    f"input.{key}: {getattr(self, key)} goes with data set 'gaussian' only, not '{self.dataset}'"
                )
        if not 1e-12 <= self.scale <= 1e12:
            raise ValueError(
                f"input.scale: {self.scale:g} needs to be from 1e-12 to 1e12, or squares leave single precision"
            )
        if on_disk and self.path is None:
            raise ValueError(f"input.path: missing; data set '{self.dataset}' is read from disk")
        if not on_disk and self.fingerprint is not None:
            raise ValueError(
                f"input.fingerprint: is of no use to data set '{self.dataset}', which is not read from a path"
            )
        if not on_disk and self.path is not None:
            raise ValueError(
                f"input.path: '{self.path}' is of no use to data set '{self.dataset}', which is not read from a path"
            )
        return self


class Weights(Section):
    """Law of the weights; a neuron's squared weights sum to `variance`, on average or exactly."""

    law: Annotated[str, one_of(LAWS)] = "gaussian"
    variance: Positive = Field(2.0, description="times 1/fan_in: the variance of a weight")


class Network(Section):
    """The random network."""

    architecture: Annotated[str, one_of(ARCHITECTURES)]
    depth: Count = Field(description="layers, or residual units")
    width: Count = Field(description="channels of every layer")
    kernel: Count = Field(
        description="extent of the convolution along each axis; 1 flattens the input: fully connected"
    )
    boundary: Annotated[str, one_of(["periodic", "symmetric", "zero"])] = "periodic"
    activation: Annotated[str, one_of(ACTIVATIONS, ALIASES)] = "relu"
    weights: Annotated[
        Weights, BeforeValidator(expand_weights, json_schema_input_type=Weights | Literal[tuple(SHORTHANDS)])
    ] = Weights()
    bias_variance: NotNegative = 0.0
    dropout: Fraction = Field(
        0.0, description="chance that an input of a convolution is dropped; the others are divided by 1 − dropout"
    )
    epsilon: NotNegative = Field(1e-3, description="added to the variance by batch normalisation")
    unit_depth: Count | None = Field(
        default_factory=lambda data: 2 if data.get("architecture") == "bn_res" else None,
        description="bn_res: convolutions in a residual unit",
    )

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.architecture != "bn_res" and self.unit_depth is not None:
            raise ValueError(f"network.unit_depth: {self.unit_depth} goes with bn_res only, not '{self.architecture}'")
        if self.architecture == "bn_res" and self.unit_depth is None:
            raise ValueError("network.unit_depth: bn_res needs a whole number of at least 1, not null")
        if self.boundary == "symmetric" and self.kernel % 2 == 0:
            raise ValueError(f"network.boundary: 'symmetric' needs an odd kernel, and network.kernel is {self.kernel}")
        if self.weights.law == "delta_orthogonal" and self.kernel == 1:
            raise ValueError(
                "network.weights.law: 'delta_orthogonal' is of convolutions, and network.kernel is 1: use 'orthogonal'"
            )
        if self.weights.law == "mirrored" and self.width % 2:
            raise ValueError(f"network.weights.law: 'mirrored' needs an even width, and network.width is {self.width}")
        return self

    @property
    def convolutions(self) -> int:
        """How many convolutions follow the embedding."""
        return self.depth * (self.unit_depth or ARCHITECTURES[self.architecture].convolutions)


class Measure(Section):
    """What is measured, and where."""

    every: Count = Field(1, description="measure layers k, 2k, …")
    channels: Annotated[str, one_of(["mean", "all"])] = Field(
        "mean", description="keep each channel's moments, or their mean"
    )
    moments: Annotated[Literal["all"] | tuple[str, ...], selection(MOMENTS)] = "all"
    sites: Annotated[Literal["all"] | tuple[str, ...], selection(SITES)] = "all"
    effective_rank: Annotated[
        tuple[str, ...], BeforeValidator(tensors, json_schema_input_type=list[Literal["signal", "noise"]])
    ] = ("signal",)
    branches: Whole = Field(0, description="redraws of each measured layer from the same input")
    pairs: Whole = Field(0, description="samples, the first of the batch, whose correlations are measured pair by pair")

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.branches == 1:
            raise ValueError("measure.branches: 1 gives no spread; needs 0 or at least 2")
        if self.pairs == 1:
            raise ValueError("measure.pairs: 1 sample has no pair; needs 0 or at least 2")
        return self


class Compute(Section):
    """How it is computed; only the precision is part of the recipe's identity."""

    device: Annotated[str, BeforeValidator(device_name)] = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Annotated[str, one_of(["auto", "float32", "float64"])] = "auto"
    block: Annotated[
        int | Literal["auto"], BeforeValidator(block_size, json_schema_input_type=Literal["auto"] | Count)
    ] = Field("auto", description="realizations propagated together")


Sweep = dict[str, list[Any]] | list[dict[str, Any]]


class Recipe(Section):
    """What to run: which data, network and measurements, and how many realizations.

    Raises
    ------
    RecipeError
        A rule is broken; the message names the key, the value and the rule.

    Examples
    --------
    >>> from moments_xr import Recipe
    >>> recipe = Recipe(
    ...     name="tiny",
    ...     realizations=4,
    ...     input={"dataset": "gaussian", "shape": [20], "batch": 8},
    ...     network={"architecture": "bn_ff", "depth": 6, "width": 12, "kernel": 1},
    ... )
    >>> recipe.replace({"network.width": 24}).network.width
    24
    """

    name: Annotated[str, Field(min_length=1, pattern=r"^[\w.+-]+$")]
    description: str = ""
    seed: Whole = 0
    realizations: Count
    input: Input
    network: Network
    measure: Measure = Measure()
    compute: Compute = Compute()
    sweep: Annotated[Sweep, BeforeValidator(sweep_form, json_schema_input_type=Sweep)] | None = Field(
        None, description="{key: [values]}: the product; or a list of {key: value}"
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise RecipeError(explain(error, Recipe)) from None

    @model_validator(mode="after")
    def _rules(self) -> Self:
        measure, network = self.measure, self.network
        if measure.every > network.depth:
            raise ValueError(
                f"measure.every: {measure.every} is larger than network.depth, {network.depth}: no layer would be measured"
            )
        there = ARCHITECTURES[network.architecture].sites
        for site in () if measure.sites == "all" else measure.sites:
            if site not in there:
                raise ValueError(
                    f"measure.sites: '{site}' is not a site of {network.architecture}, which has {', '.join(there)}"
                )
        if network.kernel == 1 and self.input.batch == 1:
            raise ValueError(
                "input.batch: 1 sample, fully connected, has no variance; needs at least 2 (mx.propagate takes a single input)"
            )
        if measure.pairs > self.input.batch:
            raise ValueError(
                f"measure.pairs: {measure.pairs} is more than the samples of input.batch, {self.input.batch}"
            )
        shape = self.input.shape
        if shape is not None and network.kernel > 1 and not 2 <= len(shape) <= 4:
            raise ValueError(
                f"input.shape: {list(shape)} needs 1 to 3 spatial extents and the channels, since network.kernel is {network.kernel} (1 is fully connected)"
            )
        if self.sweep is not None:
            self.nodes()
        return self

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites measured, in the order of the flow."""
        there = ARCHITECTURES[self.network.architecture].sites
        return tuple(site for site in there if self.measure.sites == "all" or site in self.measure.sites)

    @property
    def moments(self) -> tuple[str, ...]:
        """Moments measured, in the registry's order."""
        return tuple(MOMENTS) if self.measure.moments == "all" else self.measure.moments

    @property
    def layers(self) -> range:
        """Layers measured."""
        return range(self.measure.every, self.network.depth + 1, self.measure.every)

    @property
    def block(self) -> int:
        """Realizations propagated together, once resolved (a store or a run has resolved it)."""
        if self.compute.block == "auto":
            raise RecipeError("compute.block: 'auto' is not resolved yet")
        return self.compute.block

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with dotted keys replaced, validated again.

        Examples
        --------
        >>> from moments_xr import recipe
        >>> recipe("quickstart").replace({"realizations": 2, "network.depth": 4}).network.depth
        4
        """
        return Recipe(**assign(self.model_dump(mode="json", exclude_unset=True), changes))

    def nodes(self) -> dict[str, Recipe]:
        """One recipe a node of the sweep, by name (`input.batch=64`); the recipe itself, under "", without a sweep."""
        if self.sweep is None:
            return {"": self}
        base = self.model_dump(mode="json", exclude_unset=True)
        base.pop("sweep")
        nodes: dict[str, Recipe] = {}
        for changes in sweep_points(self.sweep):
            name = node_name(changes)
            if name in nodes:
                raise ValueError(f"sweep: {name} comes twice; each point must differ")
            try:
                nodes[name] = Recipe(**assign(base, changes))
            except RecipeError as error:
                raise ValueError(f"sweep: at {name}: {error}") from None
        return nodes

    def canonical(self) -> dict[str, Any]:
        """What decides the numbers: shorthands and defaults resolved, keys at their default left out."""
        kept: dict[str, Any] = self.model_dump(
            mode="json", include={"seed", "input", "network", "measure"}, exclude_defaults=True
        )
        if kept["input"].pop("path", None) is not None and self.input.fingerprint is None:
            kept["input"]["fingerprint"] = datasets.fingerprint(self.input.dataset, self.input.path)
        if kept["network"].get("unit_depth") in (None, 2):
            kept["network"].pop("unit_depth", None)
        if set(self.sites) == set(ARCHITECTURES[self.network.architecture].sites):
            kept.get("measure", {}).pop("sites", None)
        if self.compute.precision not in ("auto", "float32"):
            kept["precision"] = self.compute.precision
        return {key: value for key, value in kept.items() if value != {}} | {"sampler": SAMPLER}

    def identity(self) -> str:
        """SHA-256 of the canonical JSON: two recipes of one identity give the same numbers.

        The name, description, number of realizations, sweep, device and block are not in it; instead of `input.path`
        goes the fingerprint of the data, read from the path if the recipe does not have it.
        """
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_yaml(cls, path: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
        """Read a recipe; `extends` is resolved first, then `changes` (dotted keys) are made.

        Raises
        ------
        RecipeError
            The file is missing, is not YAML, or breaks a rule.
        """
        return Recipe(**assign(read(Path(path)), changes or {}))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read the JSON that a store keeps."""
        return Recipe(**json.loads(text))

    def to_json(self) -> str:
        return self.model_dump_json(exclude_unset=True)

    def to_yaml(self) -> str:
        return yaml.safe_dump(
            self.model_dump(mode="json", exclude_unset=True),
            sort_keys=False,
            default_flow_style=None,
            width=120,
            allow_unicode=True,
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_yaml())}</pre>"


def sweep_points(sweep: Sweep) -> list[dict[str, Any]]:
    """The points of a sweep, in order: the product of the listed values, or the mappings as they stand."""
    if isinstance(sweep, dict):
        return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]
    return [dict(point) for point in sweep]


def node_name(point: Mapping[str, Any]) -> str:
    """Name of a sweep's node: `input.batch=64`, several keys joined by a comma."""
    return ",".join(f"{key}={value}" for key, value in point.items())


def recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A shipped recipe, by name (`mx.recipes()` lists them).

    Examples
    --------
    >>> import moments_xr as mx
    >>> mx.recipe("quickstart").name
    'quickstart'
    """
    return Recipe.from_yaml(shipped(name), changes)


def recipes() -> dict[str, str]:
    """Shipped recipes: name -> description.

    Examples
    --------
    >>> import moments_xr as mx
    >>> "quickstart" in mx.recipes()
    True
    """
    return {path.stem: recipe(path.stem).description for path in sorted(folder().glob("*.yaml"))}
