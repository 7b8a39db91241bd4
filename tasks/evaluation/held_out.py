"""Held-out documents and a model to bits per byte: how many bits a byte of unseen text costs, whatever the tokenizer.

Each document is scored by itself. It is cut into windows as long as the model's context; a window's inputs follow the previous
window's without overlap, and its targets are its inputs one token on. So every token but a document's first is predicted exactly
once (with a BOS in front, that is the whole text), and the EOS counts as part of the text's cost. Bits are divided by the UTF-8
bytes of the documents.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from tasks.artifacts.manifest import JSON

BATCH_TOKENS = {"cpu": 4_096, "cuda": 32_768}  # padded tokens in a forward pass, unless one window is longer; on a CPU what its caches like
LOGIT_ROWS = 2_048  # positions whose logits over the vocabulary exist at a time


def windows(tokens: np.ndarray, context: int) -> list[np.ndarray]:
    """Cut a document into windows of at most `context` inputs and as many targets; neighbours share one token."""
    return [tokens[start : start + context + 1] for start in range(0, len(tokens) - 1, context)]


def batches(lengths: list[int], batch_tokens: int) -> list[list[int]]:
    """Group positions of `lengths` so that neighbours in length share a batch of at most `batch_tokens` after padding."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    grouped: list[list[int]] = []
    for position in order:
        if grouped and (len(grouped[-1]) + 1) * lengths[grouped[-1][0]] <= batch_tokens:
            grouped[-1].append(position)
        else:
            grouped.append([position])
    return grouped


def source_bits(model: PreTrainedModel, source: JSON, context: int, report: Callable[[float], None]) -> JSON:
    """Score one source: its bits, bytes and bits per byte. `source` is a request's: path, type and documents."""
    stream = np.memmap(source["path"], dtype=np.dtype(source["type"]), mode="r")
    cut = [window for start, size, _ in source["documents"] for window in windows(stream[start : start + size], context)]
    lengths = [len(window) for window in cut]
    nats, done = 0.0, 0
    for batch in batches(lengths, BATCH_TOKENS[model.device.type]):
        nats += _nats(model, [cut[position] for position in batch])
        done += sum(lengths[position] for position in batch)
        report(done / sum(lengths))
    bits, size = nats / math.log(2), sum(document[2] for document in source["documents"])
    return {
        "source": source["source"], "documents": len(source["documents"]), "tokens": sum(document[1] for document in source["documents"]),
        "predicted_tokens": sum(lengths) - len(lengths), "bytes": size, "bits": round(bits, 3), "bits_per_byte": round(bits / size, 6),
    }  # fmt: skip


@torch.inference_mode()
def _nats(model: PreTrainedModel, batch: list[np.ndarray]) -> float:
    """Sum the loss over a batch of windows. Padding is on the right, where a causal model's earlier positions cannot see it."""
    longest = max(len(window) for window in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, window in enumerate(batch):
        ids[row, : len(window)] = torch.from_numpy(window.astype(np.int64))
    sizes = torch.tensor([len(window) for window in batch])
    real = (torch.arange(longest - 1) < (sizes - 1)[:, None]).to(model.device)
    ids = ids.to(model.device)
    hidden = model.get_decoder()(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[real]
    head, targets, total = model.get_output_embeddings(), ids[:, 1:][real], 0.0
    for rows, wanted in zip(hidden.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True):
        total += cross_entropy(head(rows).float(), wanted, reduction="sum").item()
    return total
