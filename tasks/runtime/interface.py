"""The signature of a task or workflow to the descriptions of its inputs and outputs that Flyte's console shows.

A description stands once, where the thing is defined: in the docstring of a handle's or section's class, or in the annotation of a plain
value (`Annotated[int, "what it is"]`). Flyte reads descriptions from docstrings; `explained` writes them there, in numpydoc's form.
"""

import inspect
from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])

RunName = Annotated[str, "Name of the run; its recipe's where it is empty."]
StoreRoot = Annotated[str, "Artifact store: a folder or s3://bucket/prefix; empty: REYNARD_STORE, else the run's own folder."]
Seed = Annotated[int, "Seed of the weights and of the order of what is trained on."]
Which = Annotated[str, "Which of the two models: `base` or `chat`."]
Draws = Annotated[int, "How often pre-training is disturbed and compared."]
Kills = Annotated[int, "How often something dies in each draw."]
DrawSeed = Annotated[int, "Seed of what dies, and when."]
ProfileName = Annotated[str, "Cluster profile; empty: REYNARD_PROFILE, else local."]
Utilisation = Annotated[float, "Assumed model FLOPs utilisation (MFU), a part of 1."]
Price = Annotated[float, "Dollars an hour of a GPU."]
MicroBatch = Annotated[int, "Tokens that a GPU works on at once; 0: the profile's."]
Speed = Annotated[float, "Measured tokens a second of the whole cluster; 0: computed from the utilisation."]
Private = Annotated[bool, "Whether repositories that do not exist yet are made private."]
ByGate = Annotated[bool, "Whether a person has approved it at a gate node of the workflow."]
Told = Annotated[str, "What came of it, in a sentence."]


def explained(function: F) -> F:
    """Add to a function's docstring what its inputs and outputs are. TypeError if one of them is said nowhere."""
    hints = get_type_hints(function, include_extras=True)
    returned = hints.pop("return")
    outputs = get_type_hints(returned, include_extras=True) if hasattr(returned, "_fields") else {"o0": returned}
    lines = [inspect.getdoc(function) or "", "", "Parameters", "----------"]
    for name, hint in hints.items():
        lines += [name, f"    {sentence(hint, f'{function.__name__}({name})')}"]
    lines += ["", "Returns", "-------"]
    for name, hint in outputs.items():
        lines += [f"{name} : what is made", f"    {sentence(hint, f'{function.__name__} -> {name}')}"]
    function.__doc__ = "\n".join(lines)
    return function


def sentence(hint: Any, what: str) -> str:
    """Return what an annotation says of a value: its own words, else the first paragraph of its class's docstring."""
    if get_origin(hint) is Annotated:
        kind, *others = get_args(hint)
        return next((one for one in others if isinstance(one, str)), "") or sentence(kind, what)
    if isinstance(hint, type) and issubclass(hint, BaseModel) and hint.__doc__:
        return " ".join(inspect.cleandoc(hint.__doc__).split("\n\n")[0].split())
    inside = [one for one in get_args(hint) if one is not NoneType]  # of `list[...]` and `... | None`
    if len(inside) != 1:
        raise TypeError(f'{what} is described nowhere: annotate it as Annotated[{getattr(hint, "__name__", hint)}, "what it is"]')
    return sentence(inside[0], what)
