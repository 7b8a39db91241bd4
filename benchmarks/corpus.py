"""Documentation and source files of this machine to a JSON-lines corpus (and a WARC file of its HTML pages) to measure on.

    python benchmarks/corpus.py --megabytes 400 --output corpus.jsonl --warc pages.warc.gz

The same files, seed and sizes give the same bytes. Files are cut at blank lines into documents of natural sizes (log-normal, 1 to
20 KB, median 4). A stated share are planted copies: exact ones, and near ones whose words are replaced at rates that spread their
similarity from 0.6 to 1.0. If the machine has less text than asked for, the rest are mixed documents: paragraphs drawn from all.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

DEFAULT_ROOTS = ("/usr/share/doc", "/usr/share/man", "/usr/share/info", sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))
PAGES = {".html", ".htm", ".xhtml"}
PROSE = {".txt", ".rst", ".md", ".info", *(f".{section}" for section in range(1, 9)), ""}
CODE = {".py", ".pyi", ".c", ".h", ".js", ".sh", ".tex"}
MOST_FILE_BYTES = 4_000_000
LEAST, MOST, MEDIAN = 1_000, 20_000, 4_000  # characters of a document
EXACT_SHARE, NEAR_SHARE = 0.03, 0.07
MOST_REPLACED = 0.09  # share of words: brings the Jaccard similarity of character 13-grams to about 0.6
WORDS = [
    "also",
    "data",
    "each",
    "first",
    "given",
    "large",
    "model",
    "most",
    "other",
    "result",
    "second",
    "small",
    "system",
    "table",
    "under",
    "using",
    "value",
    "where",
    "which",
    "within",
]  # what words are replaced by


def find_texts(roots: list[Path]) -> list[Path]:
    """Find the files to read, in an order that is mixed and the same every time: prose and pages, and source code after them."""
    found: dict[Path, None] = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            if kind_of(path) and path.is_file() and not path.is_symlink() and 200 < path.stat().st_size < MOST_FILE_BYTES:
                found[path] = None
    return sorted(found, key=lambda path: (kind_of(path) == "code", hashlib.sha256(str(path).encode()).digest()))


def kind_of(path: Path) -> str:
    """Return `page`, `prose`, `code` or nothing, by a file's name; a `.gz` at the end does not matter."""
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    return "page" if suffix in PAGES else "prose" if suffix in PROSE else "code" if suffix in CODE else ""


def read_bytes(path: Path) -> bytes:
    """Read a file, decompressed."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def read_text(path: Path) -> str:
    """Read a file's text; of a page, all that is visible. Nothing if it is no UTF-8 text."""
    try:
        data = read_bytes(path)
        text = data.decode()
    except (UnicodeDecodeError, OSError, EOFError):
        return ""
    if kind_of(path) == "page":
        from resiliparse.extract.html2text import extract_plain_text

        return extract_plain_text(text, main_content=False)
    return "" if "\x00" in text else text


def cut(text: str, chance: random.Random) -> Iterator[str]:
    """Cut a text at blank lines (a longer piece at line ends) into documents whose sizes are drawn from a log-normal distribution."""
    wanted, piece, size = _draw(chance), [], 0
    for part in re.split(r"(?<=\n)(?=\s*\n)", text):
        for line in [part] if len(part) <= MOST // 2 else part.splitlines(keepends=True):
            if size + len(line) > wanted and size >= LEAST:
                yield "".join(piece).strip()
                wanted, piece, size = _draw(chance), [], 0
            piece.append(line[:MOST])
            size += len(line[:MOST])
    if size >= LEAST // 3:
        yield "".join(piece).strip()


def _draw(chance: random.Random) -> int:
    return int(min(max(chance.lognormvariate(0, 0.8) * MEDIAN, LEAST), MOST))


def edit(text: str, chance: random.Random) -> str:
    """Replace words of a text at a rate that is itself drawn: near copies of all similarities."""
    rate = chance.random() * MOST_REPLACED
    return re.sub(r"\S+", lambda word: chance.choice(WORDS) if chance.random() < rate else word[0], text)


def build(roots: list[Path], wanted_bytes: int, seed: int) -> tuple[list[str], dict[str, object]]:
    """Make the corpus's documents in their order, and the counts that describe it."""
    chance = random.Random(seed)
    documents: list[str] = []
    counts: dict[str, object] = {"files": 0, "page": 0, "prose": 0, "code": 0}
    size, own = 0, int(wanted_bytes * (1 - EXACT_SHARE - NEAR_SHARE))
    for path in find_texts(roots):
        if size >= own:
            break
        for document in cut(read_text(path), chance):
            if size < own and document:
                documents.append(document)
                size += len(document.encode())
                counts[kind_of(path)] += 1
        counts["files"] += 1
    originals = len(documents)
    if not documents:
        raise SystemExit(f"no text files under {', '.join(map(str, roots))}: name others with --root")
    counts["mixed"] = 0
    while size < own:
        parts = [chance.choice(chance.choice(documents[:originals]).split("\n\n")) for _ in range(chance.randint(2, 12))]
        documents.append("\n\n".join(parts)[:MOST])
        size += len(documents[-1].encode())
        counts["mixed"] += 1
    for name, share, change in (
        ("exact copies", EXACT_SHARE, lambda text: text),
        ("near copies", NEAR_SHARE, lambda text: edit(text, chance)),
    ):
        counts[name], planted = 0, 0
        while planted < wanted_bytes * share:
            documents.append(change(documents[chance.randrange(originals)]))
            planted += len(documents[-1].encode())
            counts[name] += 1
    chance.shuffle(documents)
    return documents, counts | {"documents": len(documents)}


def write_warc(path: Path, roots: list[Path], most: int) -> tuple[int, int]:
    """Write HTML files as WARC response records, each a gzip member of its own; return pages and their bytes."""
    pages = size = 0
    with path.open("wb") as file:
        for source in find_texts(roots):
            if kind_of(source) != "page" or pages == most:
                continue
            body = read_bytes(source)
            http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            name = hashlib.sha256(str(source).encode()).hexdigest()
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://localhost{source}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
                f"WARC-Record-ID: <urn:uuid:{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:32]}>\r\n"
                f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
            )
            file.write(gzip.compress(head.encode("ascii", "replace") + http + b"\r\n\r\n", 6, mtime=0))
            pages, size = pages + 1, size + len(body)
    return pages, size


def main() -> None:
    """Write the corpus and say what it is made of."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=400.0, help="10^6 bytes of UTF-8 text (default 400)")
    parser.add_argument("--output", type=Path, required=True, help="the JSON-lines file to write: rows of id and text")
    parser.add_argument("--warc", type=Path, help="a WARC file (.warc.gz) to write as well")
    parser.add_argument("--warc-pages", type=int, default=4000, help="at most so many pages (default 4000)")
    parser.add_argument("--root", type=Path, action="append", help=f"a folder to read; default: {', '.join(DEFAULT_ROOTS)}")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    roots = [root for root in given.root or map(Path, DEFAULT_ROOTS) if root.is_dir()]
    documents, counts = build(roots, int(given.megabytes * 1e6), given.seed)
    with given.output.open("wb") as file:
        for number, text in enumerate(documents):
            file.write(json.dumps({"id": f"{number:08d}", "text": text}, ensure_ascii=False).encode() + b"\n")
    size = sum(len(text.encode()) for text in documents)
    print(f"{given.output}: {size / 1e6:.1f} MB of text; " + ", ".join(f"{number:,} {name}" for name, number in counts.items()))
    if counts["mixed"]:
        print(
            f"  this machine had less text than asked for: {counts['mixed'] / len(documents):.0%} of the documents mix paragraphs of others"
        )
    if given.warc:
        pages, page_bytes = write_warc(given.warc, roots, given.warc_pages)
        print(f"{given.warc}: {pages:,} pages, {page_bytes / 1e6:.1f} MB of HTML")


if __name__ == "__main__":
    sys.exit(main())
