"""Lists of domains to a test whether an address lies on one of them, or on a domain below one."""

import contextlib
import re
from collections.abc import Iterable

from recipes.errors import BadInput

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://)?|//")
_HOST = re.compile(r"[^/?#]*")
_PLAIN = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")


class BlockedUrls:
    """Domains of block lists, one a line (RefinedWeb's use of the UT1 list; a line of a hosts file, `0.0.0.0 domain`, will do too).

    Empty lines and `#` comments are skipped. BadInput for a line that holds no domain.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.domains: set[str] = set()
        for line in lines:
            if _PLAIN.fullmatch(line):  # nearly all of the millions of lines
                self.domains.add(line)
                continue
            words = line.partition("#")[0].split()
            if not words:
                continue
            domain = host(words[-1].removeprefix("*.").removeprefix("."))
            if domain is None:
                raise BadInput(f"block list line {line.strip()[:80]!r} holds no domain: write one domain a line, such as example.com")
            self.domains.add(domain)

    def blocks(self, url: str | None) -> bool:
        """Tell whether the address's domain, or a domain above it, is on a list; an address without a domain is not."""
        domain = host(url) if url else None
        while domain:
            if domain in self.domains:
                return True
            domain = domain.partition(".")[2]
        return False


def host(url: str) -> str | None:
    """Return the domain of an address in lower case and ASCII (`xn--`), without user, port and final dot; None if it has none."""
    url = url.strip().replace("\\", "/")  # as browsers do
    scheme = _SCHEME.match(url)
    # `example.com:8080/x` has no scheme although it looks as if
    start = scheme.end() if scheme and (scheme.group().endswith("//") or not url[scheme.end() : scheme.end() + 1].isdigit()) else 0
    found = _HOST.match(url, start)
    assert found is not None  # it matches the empty string
    name = found.group().rpartition("@")[2]
    if name.startswith("["):  # an IPv6 address
        return name.partition("]")[0].lower() + "]"
    name = name.partition(":")[0].rstrip(".").lower()
    if not name.isascii():
        with contextlib.suppress(UnicodeError):  # no valid domain: it stays as it is written, and equals only itself
            name = name.encode("idna").decode("ascii")
    return name or None
