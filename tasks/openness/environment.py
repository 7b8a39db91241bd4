"""The installed packages to a software bill of materials: CycloneDX 1.6 JSON, equal for equal environments.

It is a record of where a release was made, no part of its digest: another machine may have other packages and make the same model.
"""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.artifacts.manifest import digest_of
from tasks.openness.licences import read_licence

SBOM = "reynard/sbom.cdx.json"  # in a released folder
PROJECT = "reynard"


def write_environment(folder: Path, commit: str) -> None:
    """Write the bill into a released folder; `commit` is that of the project's code."""
    target = folder / SBOM
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(environment_bill(commit), encoding="utf-8")


def environment_bill(commit: str) -> str:
    """Return the bill: every installed package with its version, purl, licence and requirements, Python, and the project at its commit."""
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    installed = {_key(one.name): one for one in metadata.distributions() if one.name}
    parts = {key: _component(key, one) for key, one in sorted(installed.items()) if key != PROJECT}
    python = Component(type=ComponentType.PLATFORM, name="CPython", version=platform.python_version(), bom_ref="CPython")
    version = installed[PROJECT].version if PROJECT in installed else None
    project = Component(type=ComponentType.APPLICATION, name=PROJECT, version=version, bom_ref=PROJECT)
    project.properties.add(Property(name="reynard:commit", value=commit))
    bill = Bom(components=[*parts.values(), python])
    bill.metadata.component = project
    for key, one in installed.items():
        needed = [parts[name] for name in _requirements(one) if name in parts]
        bill.register_dependency(parts.get(key, project), needed + ([python] if key == PROJECT else []))
    return _settled(json.loads(JsonV1Dot6(bill).output_as_string()))


def _settled(values: dict[str, Any]) -> str:
    """Write a bill without its time, and with a serial number that follows from its content in the place of a random one."""
    del values["metadata"]["timestamp"], values["serialNumber"]
    digest = digest_of(values)
    number = f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"  # a UUID of version 8: one's own making
    return json.dumps({"serialNumber": f"urn:uuid:{number}"} | values, indent=1, sort_keys=True) + "\n"


def _key(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _component(key: str, package: metadata.Distribution) -> Any:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", None, key, package.version)
    licence = _licence(package.metadata)
    return Component(
        type=ComponentType.LIBRARY, name=package.name, version=package.version, purl=purl, bom_ref=str(purl), licenses=[licence] if licence else []
    )  # fmt: skip


def _licence(said: metadata.PackageMetadata) -> Any:
    """Return what a package says of its licence: an SPDX expression where it is one, else its words; None if it says nothing."""
    from cyclonedx.factory.license import LicenseFactory

    words = [said.get("License-Expression", ""), said.get("License", "").partition("\n")[0]]
    spdx = next((licence.spdx for word in words if (licence := read_licence(word)).spdx), "")
    if spdx:
        return LicenseFactory().make_from_string(spdx)
    classifiers = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or [] if line.startswith("License :: ")]
    name = ", ".join(classifiers) or next((word for word in words if word), "")
    return LicenseFactory().make_with_name(name) if name else None


def _requirements(package: metadata.Distribution) -> list[str]:
    """Return what a package needs in this environment, extras left out."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for line in package.requires or []:
        try:
            one = Requirement(line)
        except InvalidRequirement:  # an old package's own way of writing: its neighbours are installed and listed all the same
            continue
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            found.append(_key(one.name))
    return sorted(set(found))
