"""A causal model of transformers to lm-evaluation-harness's language model: equal log-likelihoods, with nothing computed twice.

Prompts and their encoding are the harness's own (`HFLM`). What differs is how log-likelihoods are found: requests are laid out as
trees of prefixes (`prefixes.py`), so that the choices of an item share its prompt and items share their few-shot examples, rows of
neighbouring sizes make a batch, and logits over the vocabulary exist for the scored positions alone, some at a time.
"""

from collections.abc import Sequence

import numpy as np
import torch
from lm_eval.models import huggingface
from torch import Tensor
from transformers import DynamicCache

from tasks.evaluation.prefixes import Family, Planner, Row, Tree, batches, tree

KNOWN = ("llama", "mistral")  # logits are the output matrix times the decoder's last hidden states; other models are left to HFLM
BATCH_TOKENS = {"cpu": 2_048, "cuda": 32_768}  # padded tokens of a forward pass, unless one row is longer
ROW_TOKENS = {"cpu": 2_048, "cuda": 4_096}  # a tree's tokens
MASK_CELLS = {"cpu": 2**25, "cuda": 2**29}  # booleans of an attention mask
ATTENTION_TOKENS = {"cpu": 3, "cuda": 6}  # times the hidden size: as many keys cost what all else in a layer does (24 h^2 by 4 h on paper)
LOGIT_CELLS = 2**26  # logits that exist at a time: 256 MiB in float32
Encoded = tuple[tuple[str, str], list[int], list[int]]
Wanted = list[tuple[tuple[int, ...], list[int]]]


class PrefixLM(huggingface.HFLM):
    """`HFLM` whose log-likelihoods share prefixes."""

    _last_context: tuple[str, list[int]] = ("", [])

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Encode as the harness does; a context that comes again, with an item's next choice, is not encoded again."""
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        if context != self._last_context[0]:
            self._last_context = context, self.tok_encode(context)
        ids = self._last_context[1]
        return ids, self.tok_encode(context + continuation)[len(ids) :]

    def _loglikelihood_tokens(
        self, requests: list[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Return (log-likelihood of the continuation, whether greedy decoding would write it) for each request, in order."""
        if self.model.config.model_type not in KNOWN:
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        wanted: Wanted = [(tuple((context + target)[-(self.max_length + 1) :][:-1]), target) for _, context, target in requests]
        asked: dict[tuple[int, ...], list[int]] = {}
        for number, (sequence, _) in enumerate(wanted):
            asked.setdefault(sequence, []).append(number)
        sequences = sorted(asked)
        scored = [max(len(wanted[number][1]) for number in asked[one]) for one in sequences]
        kind = self.device.type
        planner = Planner(sequences, scored, ATTENTION_TOKENS[kind] * self.model.config.hidden_size, ROW_TOKENS[kind])
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        bar = huggingface.tqdm(total=len(requests), disable=disable_tqdm, desc="Running loglikelihood requests")
        with torch.inference_mode():
            for family in planner.plan():
                past = self._keys_and_values(family, sequences) if family.prefix else []
                for rows in batches(family.rows, family.prefix, BATCH_TOKENS[kind], MASK_CELLS[kind]):
                    found = self._batch(rows, family.prefix, past, sequences, asked, wanted)
                    for number, answer in found.items():
                        answers[number] = answer
                    bar.update(len(found))
        bar.close()
        for (text, _, _), answer in zip(requests, answers, strict=True):
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def _keys_and_values(self, family: Family, sequences: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
        """Compute a family's prefix once: keys and values of each layer, [1, heads, tokens, size]."""
        cache = DynamicCache()  # made without the config, so that a sliding window does not cut it: the mask does
        ids = torch.tensor([sequences[family.rows[0].start][: family.prefix]], device=self.device)
        ends = torch.full((1, family.prefix), family.prefix, device=self.device)
        places = torch.arange(family.prefix, device=self.device)[None]
        self.model.get_decoder()(
            input_ids=ids, position_ids=places, attention_mask=self._mask(ends, places, 0), past_key_values=cache, use_cache=True
        )
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _mask(self, ends: Tensor, positions: Tensor, prefix: int) -> Tensor | None:
        """Return who attends to whom, [rows, 1, nodes, prefix + nodes]: a token to itself, its ancestors and the prefix; in the window."""
        window = getattr(self.model.config, "sliding_window", None)
        nodes = torch.arange(ends.shape[1], device=ends.device)
        own = (nodes[:, None] >= nodes) & (nodes[:, None] < ends[:, None, :])
        mask = torch.cat([own.new_ones(*own.shape[:2], prefix), own], -1) if prefix else own
        if window is not None:
            before = torch.arange(prefix, device=ends.device).expand(len(ends), -1)
            mask &= positions[:, :, None] - torch.cat([before, positions], -1)[:, None, :] < window
        return mask[:, None]

    def _hidden(self, trees: list[Tree], prefix: int, past: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the last hidden states of a batch of trees, [rows, nodes, size]; padding is on the right and attends to itself."""
        widest = max(len(one.tokens) for one in trees)
        ids, positions = np.zeros((2, len(trees), widest), dtype=np.int64)
        ends = np.tile(np.arange(1, widest + 1), (len(trees), 1))
        for row, one in enumerate(trees):
            size = len(one.tokens)
            ids[row, :size], positions[row, :size], ends[row, :size] = one.tokens, one.positions, one.ends
        there = [torch.from_numpy(array).to(self.device) for array in (ids, positions, ends)]
        cache = DynamicCache([(k.expand(len(trees), -1, -1, -1), v.expand(len(trees), -1, -1, -1)) for k, v in past]) if past else None
        return self.model.get_decoder()(
            input_ids=there[0], position_ids=there[1], attention_mask=self._mask(there[2], there[1], prefix), past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state  # fmt: skip

    def _batch(
        self, rows: list[Row], prefix: int, past: list[tuple[Tensor, Tensor]], sequences: Sequence[tuple[int, ...]],
        asked: dict[tuple[int, ...], list[int]], wanted: Wanted,
    ) -> dict[int, tuple[float, bool]]:  # fmt: skip
        """Answer the requests whose sequences are in the rows, by their numbers."""
        parts = [sequences[row.start : row.stop] for row in rows]
        trees = [tree(part, prefix) for part in parts]
        hidden = self._hidden(trees, prefix, past)
        owners, places, targets = [], [], []
        for row, (part, one) in enumerate(zip(parts, trees, strict=True)):
            for sequence, path in zip(part, one.paths, strict=True):
                for number in asked[sequence]:
                    target = wanted[number][1]
                    owners += [number] * len(target)
                    places += [row * hidden.shape[1] + node for node in path[-len(target) :]]
                    targets += target
        found, greedy = self._scores(hidden.flatten(0, 1), np.array(places), np.array(targets))
        answers: dict[int, tuple[float, bool]] = {}
        for number, value, same in zip(owners, found.tolist(), greedy.tolist(), strict=True):
            total, every = answers.get(number, (0.0, True))
            answers[number] = total + value, every and same
        return answers

    def _scores(self, hidden: Tensor, places: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each target's log-probability at its place, and whether it is the likeliest token there."""
        head = self.model.get_output_embeddings()
        unique, inverse = np.unique(places, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        values, greedy = np.empty(len(places), dtype=np.float64), np.empty(len(places), dtype=bool)
        step = max(1, LOGIT_CELLS // head.weight.shape[0])
        for start in range(0, len(unique), step):
            logits = head(hidden[torch.from_numpy(unique[start : start + step]).to(self.device)]).float()
            first, last = np.searchsorted(inverse[order], [start, start + step])
            here = order[first:last]
            rows = torch.from_numpy(inverse[here] - start).to(self.device)
            ids = torch.from_numpy(targets[here]).to(self.device)
            values[here] = (logits[rows, ids] - logits.logsumexp(-1)[rows]).double().cpu().numpy()
            greedy[here] = (logits.argmax(-1)[rows] == ids).cpu().numpy()
        return values, greedy
