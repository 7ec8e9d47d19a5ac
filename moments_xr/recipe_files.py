"""Recipes as files: YAML, inheritance, dotted keys, and the recipes that ship."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moments_xr.errors import RecipeError
from moments_xr.recipe_fields import SHORTHANDS


def folder() -> Path:
    inside = Path(__file__).parent / "recipes"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "recipes"


def shipped(name: str) -> Path:
    path = folder() / f"{name}.yaml"
    if not path.is_file():
        names = [file.stem for file in sorted(folder().glob("*.yaml"))]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names)}"
        raise RecipeError(f"recipe '{name}': no such file, and no shipped recipe of that name; {hint}")
    return path


class _Loader(yaml.SafeLoader):
    """Safe loader that reads `1e-3` as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise RecipeError(f"{key}: given twice, at line {node.start_mark.line + 1} and below")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(text: str) -> Any:
    """YAML as recipes read it."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError("not valid YAML: " + " ".join(str(error).split())) from None


def read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if not path.is_file():
        raise RecipeError(f"recipe '{path}': no such file")
    if path.resolve() in seen:
        raise RecipeError(f"extends: '{path}' extends itself")
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except (RecipeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{path}': {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"recipe '{path}': needs a mapping of keys, not {type(values).__name__}")
    if not all(isinstance(key, str) for key in values):
        raise RecipeError(
            f"recipe '{path}': a key is text, and {next(k for k in values if not isinstance(k, str))!r} is not"
        )
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeError(f"extends: {base!r} needs the path of a recipe, or a shipped recipe's name")
    parent = path.parent / base if base.endswith((".yaml", ".yml")) else shipped(base)
    if not parent.is_file():
        raise RecipeError(f"extends: '{base}' of recipe '{path}': no such file, {parent}")
    return merge(read(parent, (*seen, path.resolve())), values)


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        deep = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "sweep"
        merged[key] = merge(base[key], value) if deep else value
    return merged


def assign(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        head, *rest = reversed(key.split("."))
        nested: dict[str, Any] = {head: value}
        for part in rest:
            nested = {part: nested}
        weights = values.get("network", {}).get("weights") if isinstance(values.get("network"), dict) else None
        if key.startswith("network.weights.") and isinstance(weights, str):
            values = merge(dict(values), {"network": {"weights": SHORTHANDS.get(weights, weights)}})
        values = merge(dict(values), nested)
    return dict(values)
