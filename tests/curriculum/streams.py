"""Token streams laid down as tokenization does, for tests: numbers that say where they are from."""

from pathlib import Path

import numpy as np
import xxhash

from tasks.artifacts.documents import write_lines
from tasks.artifacts.store import sha256_bytes
from tasks.artifacts.token_streams import STREAMS, Stream, block_hashes, documents_file, open_streams


def lay_down(root: Path, sources: dict[str, list[list[list[int]]]], kind: str = "uint16") -> dict[str, Stream]:
    """Write sources, each a list of shards, each a list of documents of ids, below `root`/tokens/1 and open them."""
    folder, rows = root / "tokens" / "1", []
    for source, shards in sources.items():
        (folder / "tokens" / source).mkdir(parents=True)
        ids = iter(document_ids(sum(map(len, shards)), source))
        for number, documents in enumerate(shards):
            flat = np.array([token for document in documents for token in document], dtype=kind)
            path, end, index = folder / "tokens" / source / f"{number:05d}.bin", 0, []
            path.write_bytes(flat.tobytes())
            path.with_suffix(".blocks").write_bytes(block_hashes(flat))
            for place, document in enumerate(documents):
                index.append({"id": next(ids), "start": end, "tokens": len(document), "bytes": 1, "raw": f"{source}.txt#{number}.{place}"})
                end += len(document)
            write_lines(folder / documents_file(source, number), index)
            rows.append({
                "source": source, "shard": number, "tokens": len(flat), "documents": len(documents), "first_id": index[0]["id"] if index else "",
                "blocks": sha256_bytes(block_hashes(flat)),
            })  # fmt: skip
    write_lines(folder / STREAMS, rows)
    return open_streams(str(root), "tokens/1", folder / STREAMS, np.dtype(kind))


def document_ids(count: int, source: str = "") -> list[str]:
    """Return ids that are evenly spread over the range of all ids, in order."""
    return [f"{(2**128 * n // count) + xxhash.xxh32_intdigest(source.encode()):032x}" for n in range(count)]


def counting(first: int, documents: int, tokens: int, shards: int = 1) -> list[list[list[int]]]:
    """Return shards of documents whose ids count upwards through the whole source."""
    flat = [list(range(first + n * tokens, first + (n + 1) * tokens)) for n in range(documents)]
    each = -(-documents // shards)
    return [flat[start : start + each] for start in range(0, documents, each)]
