"""Types of a recipe's keys: what each accepts, and the words for what it does not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

SHORTHANDS = {
    "he": {"law": "gaussian", "variance": 2.0},
    "lecun": {"law": "gaussian", "variance": 1.0},
    # 2/(fan_in + fan_out): all layers after the embedding are as wide as what enters them.
    "glorot": {"law": "gaussian", "variance": 1.0},
}


def whole(value: Any) -> Any:
    """A whole number, of Python or numpy; not text, not true or false."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError("needs a whole number")
    return value.__index__()


def number(value: Any) -> Any:
    """A real number, of Python or numpy; not text, not true or false."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise ValueError("needs a number")
    return float(value)


Whole = Annotated[int, BeforeValidator(whole, json_schema_input_type=Annotated[int, Field(ge=0)]), Field(ge=0)]
Count = Annotated[int, BeforeValidator(whole, json_schema_input_type=Annotated[int, Field(ge=1)]), Field(ge=1)]
Fraction = Annotated[
    float, BeforeValidator(number, json_schema_input_type=Annotated[float, Field(ge=0, lt=1)]), Field(ge=0, lt=1)
]
Positive = Annotated[float, BeforeValidator(number, json_schema_input_type=Annotated[float, Field(gt=0)]), Field(gt=0)]
NotNegative = Annotated[
    float, BeforeValidator(number, json_schema_input_type=Annotated[float, Field(ge=0)]), Field(ge=0)
]


def one_of(names: Iterable[str], aliases: Mapping[str, str] | None = None) -> BeforeValidator:
    """Accepts one of the names, or an alias of one, which it puts in its place."""
    names, other = tuple(names), aliases or {}

    def check(value: Any) -> Any:
        value = other.get(value, value) if isinstance(value, str) else value
        if value not in names:
            close = difflib.get_close_matches(str(value), names, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise ValueError(f"is not one of {', '.join(names)}{hint}")
        return value

    return BeforeValidator(check, json_schema_input_type=Literal[(*names, *other)])


def selection(names: Iterable[str]) -> BeforeValidator:
    """Accepts `all` or a list of names; puts the list in the registry's order, and a full one into `all`."""
    names = tuple(names)

    def check(value: Any) -> Any:
        if value == "all":
            return value
        if not isinstance(value, (list, tuple)) or not value or not all(one in names for one in value):
            raise ValueError(f"needs `all` or a list of some of {', '.join(names)}")
        chosen = tuple(name for name in names if name in value)
        return "all" if chosen == names else chosen

    return BeforeValidator(check, json_schema_input_type=Literal["all"] | list[Literal[names]])  # type: ignore[valid-type]


def tensors(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not all(one in ("signal", "noise") for one in value):
        raise ValueError("needs a list of some of signal, noise")
    return tuple(name for name in ("signal", "noise") if name in value)


def expand_weights(value: Any) -> Any:
    if isinstance(value, str):
        if value not in SHORTHANDS:
            raise ValueError(f"is not one of {', '.join(SHORTHANDS)}, nor a mapping with law and variance")
        return SHORTHANDS[value]
    return value


def device_name(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("is not one of auto, cpu, cuda, cuda:N")
    return value


def block_size(value: Any) -> Any:
    if value != "auto" and whole(value) < 1:
        raise ValueError("needs `auto` or a whole number of at least 1")
    return value


def sweep_form(value: Any) -> Any:
    """A mapping of keys to lists, or a list of mappings; the values name nodes, so they are numbers or text."""
    if isinstance(value, dict) and value:
        for key, values in value.items():
            if not isinstance(key, str) or not isinstance(values, (list, tuple)):
                raise ValueError(f"needs a list of values for each key, and {key!r} has {values!r}")
            if not values:
                raise ValueError(f"has no value for {key}")
        pairs = [(key, one) for key, values in value.items() for one in values]
    elif isinstance(value, (list, tuple)) and value and all(isinstance(point, dict) and point for point in value):
        if any(point.keys() != value[0].keys() for point in value):
            raise ValueError("needs the same keys in each mapping of the list")
        pairs = [pair for point in value for pair in point.items()]
    else:
        hint = ", and has no value" if value in ({}, []) else ""
        raise ValueError(f"needs a mapping of keys to lists of values, or a list of mappings{hint}")
    for key, one in pairs:
        if str(key).split(".")[0] in ("name", "description", "realizations", "compute", "sweep"):
            raise ValueError(f"has '{key}', which can't be swept: keys of input, network, measure and the seed can")
        if not isinstance(one, (int, float, str)) or "/" in str(one):
            raise ValueError(f"has {one!r} for {key}: it names a node, so it needs to be a number, or text without '/'")
    return value


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Each broken rule as a line: key, value, rule."""
    lines = []
    for one in error.errors(include_url=False):
        if one["type"] == "default_factory_not_called":
            continue
        key = ".".join(str(part) for part in one["loc"] if not (isinstance(part, str) and re.search(r"[\[(]", part)))
        message = one["msg"].removeprefix("Value error, ")
        if one["type"] == "missing":
            line = f"{key}: missing, and has no default"
        elif one["type"] == "extra_forbidden":
            line = f"{key}: unknown key{_near(one['loc'], model)}"
        elif one["type"] == "value_error" and re.match(r"[a-z_.]+: ", message):
            line = message
        else:
            line = f"{key}: {one['input']!r} {_rule(message)}"
        if line not in lines:
            lines.append(line)
    return "\n".join(lines)


def _rule(message: str) -> str:
    message = re.sub(r"^Input should be a valid dictionary or instance of \w+", "needs a mapping of keys", message)
    message = re.sub(r"^String should match pattern .*", "needs to be letters, digits and . _ + -", message)
    return re.sub(r"^Input should be", "should be", message)


def _near(loc: tuple[int | str, ...], root: type[BaseModel]) -> str:
    model: Any = root
    for part in loc[:-1]:
        model = model.model_fields[str(part)].annotation
    names = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f" (did you mean '{close[0]}'?)" if close else f"; there are {', '.join(names)}" if names else ""
