"""Sealed checkpoints inside a stage to published ones: artifacts with weights and without AdamW's moments, named like revisions of the Hub.

Whoever trains calls `take` while training goes on, and once more at the stage's end. It looks at the store alone and remembers nothing,
so that a crash loses no checkpoint and makes none twice.
"""

from dataclasses import dataclass

import orjson

from tasks.artifacts.handles import Handle, Run
from tasks.artifacts.manifest import JSON, read_manifest
from tasks.artifacts.store import Store, open_store
from tasks.engine.facts import stage_facts
from tasks.engine.job import Job
from tasks.engine.journal import merged_rows
from tasks.engine.launch import checkpoints_of
from tasks.runtime.production import Production, Reader

KIND = "published"
LEFT_BEHIND = "optimizer-"  # files that only a resume needs


def revision(stage: str, step: int, tokens: int) -> str:
    """Return a checkpoint's name: `stage1-step1000-tokens4B`. Steps and tokens count through all stages; tokens are cut, not rounded."""
    unit, suffix = next((one for one in ((10**9, "B"), (10**6, "M"), (10**3, "K")) if tokens >= one[0]), (1, ""))
    return f"{stage}-step{step}-tokens{tokens // unit}{suffix}"


@dataclass(frozen=True)
class Publisher:
    """Takes the checkpoints of one job that the recipe publishes."""

    run: Run
    job: Job
    identity: JSON  # of the stage
    parents: dict[str, Handle]
    tokens: Reader

    def take(self) -> None:
        """Make the artifacts that are missing, and let go of copies in the working folder that no resume needs."""
        store = open_store(self.job.store)
        folders = [seal.removesuffix("/_SUCCESS") for seal in checkpoints_of(store, self.job)]
        for place, folder in enumerate(folders):
            number = int(folder.rpartition("-")[2])
            if self.job.publishes(number):
                self._publish(store, folder, number)
                if place < len(folders) - self.job.keep_checkpoints:
                    store.delete(folder)

    def _publish(self, store: Store, folder: str, number: int) -> None:
        name = revision(self.job.stage, number, self.job.tokens_after(number))
        made = Production(self.run, KIND, name, self.identity | {"step": number}, self.parents, "tasks.training")
        checkpoint = read_manifest(store, folder)
        if checkpoint is None or store.exists(f"{made.folder}/_SUCCESS"):
            return
        with made:
            for entry in checkpoint.files:
                if not entry.path.startswith(LEFT_BEHIND):
                    made.adopt_file(f"{folder}/{entry.path}", entry.path, entry.bytes, entry.sha256)
            made.add_text("model.json", orjson.dumps(self.job.model.model_dump(mode="json")))
            for entry in self.tokens.manifest.matching("tokenizer/"):
                made.copy_file(self.tokens.path(entry.path), entry.path)
            steps, tokens = number - self.job.first_step, self.job.tokens_after(number)
            rows = [row for row in merged_rows(store, self.job.working_folder) if row["step"] <= number]
            counts = stage_facts(self.job.model, self.job.stage, self.job.first_step, steps, tokens, rows)
            details = {"first_step": self.job.first_step, "stage_steps": steps, "stage_tokens": steps * self.job.tokens_per_step}
            made.seal(counts, details)
