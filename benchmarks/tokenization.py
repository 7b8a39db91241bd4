"""A corpus and a SentencePiece model to a table of how fast this project and its peers encode it, and whose ids are SentencePiece's.

    python benchmarks/tokenization.py --input corpus.jsonl --model tokenizer.model --json rows.json --peers-python peers-tokens/bin/python

One run, one machine, one text, one model, one thread each, one contender after the other, each in a process of its own; uint32 ids of
every document are the result. Rates are 10^6 bytes of UTF-8 text a second of CPU time. `encode` has the texts in memory before the clock
starts; `read, encode, write` reads the file and writes ids inside. Every document of every contender is compared with SentencePiece.
tokenizers and datatrove load this project's conversion of the model: where their ids differ, the conversion may be the cause.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contenders import Contender  # noqa: E402
from benchmarks.curation import Run, measure, take_documents  # noqa: E402
from benchmarks.machine import machine_facts  # noqa: E402

Row = dict[str, Any]
OURS, OUR_STEP, SENTENCEPIECE = "reynard: encode", "reynard: read, encode, write", "sentencepiece"
DATATROVE, FAST_TOKENIZERS = "datatrove: read, encode, write", "tokenizers: encode_batch_fast"
_PEERS, _INSTALL = "benchmarks.peers.tokens:", "pip install -r benchmarks/requirements-tokens.txt"
CONTENDERS = (
    Contender(SENTENCEPIECE, "tokens", _PEERS + "sentencepiece", OURS, ("sentencepiece", "orjson", "numpy"), _INSTALL),
    Contender(OURS, "tokens", "benchmarks.ours.tokens:encoder"),
    Contender("tokenizers: encode_batch", "tokens", _PEERS + "tokenizers", OURS, ("tokenizers", "orjson", "numpy"), _INSTALL),
    Contender(FAST_TOKENIZERS, "tokens", _PEERS + "tokenizers_fast", OURS, ("tokenizers", "orjson", "numpy"), _INSTALL),
    Contender("kitoken", "tokens", _PEERS + "kitoken", OURS, ("kitoken", "orjson", "numpy"), _INSTALL),
    Contender("gigatoken", "tokens", _PEERS + "gigatoken", OURS, ("gigatoken", "orjson", "numpy"), _INSTALL),
    Contender(OUR_STEP, "tokens", "benchmarks.ours.tokens:read_encode_write"),
    Contender(DATATROVE, "tokens", _PEERS + "datatrove", OUR_STEP, ("datatrove", "tokenizers", "orjson", "numpy"), _INSTALL),
)  # fmt: skip


def prepare(model: Path, folder: Path) -> Row:
    """Convert the model for `tokenizers`; return the settings that all contenders share."""
    import sentencepiece

    from tasks.tokenization.sentencepiece_model import convert

    data = model.read_bytes()
    converted = folder / "tokenizer.json"
    convert(sentencepiece.SentencePieceProcessor(model_proto=data), data).save(str(converted))
    return {"model": str(model), "converted": str(converted), "fingerprints": str(folder / "fingerprints.json")}


def measure_all(run: Run) -> list[Row]:
    """Run the contenders one after the other and compare the ids of all documents with SentencePiece's."""
    rows: list[Row] = []
    expected: list[str] = []
    written = Path(run.settings["fingerprints"])
    for contender in CONTENDERS:
        written.unlink(missing_ok=True)
        row = measure(contender, run, False)
        found = json.loads(written.read_text()) if written.exists() else None
        if contender.name == SENTENCEPIECE:
            if found is None:
                raise SystemExit(f"sentencepiece gave no ids to compare with: {row}")
            expected = found
        if found is not None:
            row["documents_that_differ"] = sum(a != b for a, b in zip(found, expected, strict=True))
        rows.append({name: value for name, value in row.items() if name not in ("removed", "group", "aim", "sample")})
        print(line_of(rows[-1]), flush=True)
    return rows


def compare(rows: list[Row]) -> list[Row]:
    """Add how many times as fast as SentencePiece each is, and how many times as fast as the peer this project is."""
    rates = {row["name"]: row["mb_per_second_per_core"] for row in rows if row["mb_per_second_per_core"]}
    for row in rows:
        if rate := row["mb_per_second_per_core"]:
            row["times_sentencepiece"] = round(rate / rates[SENTENCEPIECE], 2)
            if row["peer_of"] in rates:
                row["ratio"] = round(rates[row["peer_of"]] / rate, 2)
    return rows


def line_of(row: Row) -> str:
    """Write a row as a line of the table."""
    if row["mb_per_second_per_core"] is None:
        return f"{row['name']:<30} " + (f"not installed: {row['not_installed']}" if "not_installed" in row else f"failed: {row['failed']}")
    times, ratio = (f"{row[name]:>9.2f}" if name in row else " " * 9 for name in ("times_sentencepiece", "ratio"))
    return (
        f"{row['name']:<30} {row['mb_per_second_per_core']:>9.2f} {times} {ratio} {row['documents_that_differ']:>10,} {row['documents']:>9,} "
        f"{row['seconds']:>8.2f}"
    )


def goals(rows: list[Row]) -> list[tuple[str, float, float]]:
    """Return (goal, value, least) for each goal whose rows are there. `least` is what the project promises."""
    by_name = {row["name"]: row for row in rows if row["mb_per_second_per_core"]}
    found: list[tuple[str, float, float]] = []
    for ours in (OURS, OUR_STEP):
        if ours in by_name:
            same = by_name[ours]["documents"] - by_name[ours]["documents_that_differ"]
            found.append((f"{ours}: share of documents with SentencePiece's ids", same / by_name[ours]["documents"], 1.0))
    if OURS in by_name:
        found.append(("encode, times sentencepiece", by_name[OURS]["times_sentencepiece"], 3.0))
    for peer in (FAST_TOKENIZERS, DATATROVE):
        if "ratio" in by_name.get(peer, {}):
            found.append((f"{by_name[peer]['peer_of']}, times {peer}", by_name[peer]["ratio"], 1.0))
    return found


def print_table(rows: list[Row]) -> None:
    """Print all rows and the goals."""
    print(f"\n{'one thread each':<30} {'MB/s/core':>9} {'x sp':>9} {'ours is x':>9} {'ids differ':>10} {'documents':>9} {'seconds':>8}")
    print("\n".join(map(line_of, rows)), end="\n\n")
    for goal, value, least in goals(rows):
        print(f"{'reached' if value >= least else 'MISSED '}  {goal}: {value:g} (goal {least:g})")


def main() -> int:
    """Measure, print the table and write the rows; 1 if a row of this project failed or has other ids than SentencePiece."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="JSON lines with a field `text`")
    parser.add_argument("--model", type=Path, required=True, help="a SentencePiece tokenizer.model")
    parser.add_argument("--json", type=Path, required=True, help="where the rows go; rows of other models that are there are kept")
    parser.add_argument("--name", help="the model's name in the rows; else its file's")
    parser.add_argument("--megabytes", type=float, default=0.0, help="take so much of the input; 0: all of it")
    parser.add_argument("--peers-python", action="append", help="a Python that has peers installed; may be given several times")
    parser.add_argument("--seconds", type=float, default=1800.0, help="a contender that takes longer is stopped, and its row says so")
    given = parser.parse_args()
    name = given.name or given.model.stem
    with tempfile.TemporaryDirectory(prefix="reynard-benchmark-") as folder:
        scratch = Path(folder)
        whole = take_documents(given.input.resolve(), int(given.megabytes * 1e6) or 1 << 60, scratch / "input.jsonl")
        settings = prepare(given.model.resolve(), scratch)
        print(f"{name}, {given.input.name}: {whole.documents:,} documents, {whole.bytes / 1e6:.1f} MB, one thread each", flush=True)
        rows = compare(measure_all(Run(whole, whole, None, 0, given.peers_python or [], scratch, settings, given.seconds)))
    facts = machine_facts()
    kept = [row for row in (json.loads(given.json.read_text()) if given.json.exists() else []) if row["model"] != name]
    given.json.write_text(json.dumps([*kept, *({"model": name} | row | {"machine": facts} for row in rows)], indent=1) + "\n")
    print_table(rows)
    ours = [row for row in rows if row["name"].startswith("reynard")]
    return int(any("failed" in row or row["documents_that_differ"] for row in ours))


if __name__ == "__main__":
    sys.exit(main())
