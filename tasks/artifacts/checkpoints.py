"""What a checkpoint artifact holds, for those who read it: `model.safetensors`, `optimizer.safetensors`, `state.json`,
`probe.safetensors` (the trainer's own logits), `model.json` (the recipe's model section), `tokenizer/` and `journal.jsonl`."""

WEIGHTS = "model.safetensors"
PROBE = "probe.safetensors"
MODEL = "model.json"
TOKENIZER = "tokenizer/"
JOURNAL = "journal.jsonl"
