"""What every part of a recipe is: a frozen group of fields in which a misspelt key is an error."""

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Portion = Annotated[list[Fraction], Field(min_length=2, max_length=2)]  # [from, to) of the range of content hashes


class Section(BaseModel):
    """A frozen group of recipe fields in which a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    @cache
    def model_json_schema(cls, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Return the JSON Schema, made once: Flyte asks for it at every edge of every workflow, seconds in each process that imports one."""
        return super().model_json_schema(*arguments, **named)
