"""A YAML file to a validated recipe, or one sentence that says what is wrong with it."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from recipes.errors import BadInput


def load_recipe(path: Path):
    """Read and validate a recipe file; BadInput names the field, the rule and the way out."""
    from recipes.schema import Recipe

    if not path.is_file():
        raise BadInput(f"recipe {str(path)!r} does not exist: give the path of a YAML file such as recipes/tiny.yaml")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"recipe {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None
    return Recipe.model_validate(values)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn pydantic's errors into sentences: where, what was found, what is allowed, and what was probably meant."""
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _fields(model, fault["loc"][:-1])
            near = get_close_matches(str(fault["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"remove it, or use one of {', '.join(known)}"
            lines.append(f"{where} is not a field of the recipe: {hint}")
        elif fault["type"] == "missing":
            lines.append(f"{where} is missing: the recipe must state it, nothing that decides the weights has a default")
        elif fault["type"] == "value_error":
            lines.append(f"{where + ': ' if where else ''}{fault['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{where} is {_short(fault['input'])}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    misspelt = [line for line in lines if "is not a field" in line]
    return "; ".join(misspelt or lines)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _fields(model: Any, path: tuple) -> list[str]:
    """Return the field names of the section at a path."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:  # else the key of a named section
            annotation = model.model_fields[part].annotation
            model = next((found for found in _models(annotation)), model)
    return list(model.model_fields)


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models(inner)]
