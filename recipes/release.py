"""The release section of a recipe: what is published under which names, what it claims, and what it has to prove first."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recipes.section import Name, Section

Percent = Annotated[float, Field(ge=0.0, le=100.0)]
Account = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=96)]
Licence = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")]  # an SPDX identifier


class ComponentLicences(Section):
    """Licences (SPDX identifiers) of what is published beside the weights, by the type of component that the Model Openness Framework knows."""

    code: Licence
    data: Licence  # manifests, curation statistics and scores; documents keep their sources' licences
    documents: Licence  # cards, reports, the ledger


class Release(Section):
    """What is published, under which names, what it claims and what it has to prove."""

    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]  # a tag `v<version>` on the Hub: one version is one digest
    organization: Account  # on the Hub; empty: the token's own account
    base_name: Name
    chat_name: Name
    dataset_name: Name  # of the repository with manifests and curation statistics
    licence: Licence  # of the weights
    component_licences: ComponentLicences
    languages: Annotated[list[str], Field(min_length=1)]  # ISO 639-1
    summary: str
    openness_class: Literal["I", "II", "III", "none"]  # of the Model Openness Framework, as claimed: refused if the evidence gives less
    thresholds: dict[str, Percent]  # suite/task: the lowest score in percent with which a model that is scored on it is released
    approval: bool  # whether a person must approve before a model is laid down
    publish_checkpoints: bool  # whether those on the way to the base model become branches of its repository
    publish_data: bool  # whether the documents go into the dataset's repository, where their licences allow it

    @model_validator(mode="after")
    def _names_differ(self) -> "Release":
        names = [self.base_name, self.chat_name, self.dataset_name]
        if len(set(names)) < len(names):
            raise ValueError(f"base_name, chat_name and dataset_name are {', '.join(names)}: three repositories need three names")
        return self

    def repository(self, which: Literal["base", "chat"]) -> str:
        """Return the name of the base or chat model's repository, without the account that holds it."""
        return self.base_name if which == "base" else self.chat_name

    def address(self, name: str) -> str:
        """Return a repository's name as one writes it in code: with the organization, where the recipe gives one."""
        return f"{self.organization}/{name}" if self.organization else name
