"""A release of a few bytes with everything that the framework asks for: manifests from raw files to scores, a folder, and its sources."""

from pathlib import Path

from recipes.release import Release
from tasks.artifacts.manifest import JSON, FileEntry, Manifest, content_digest
from tasks.openness.source_code import SOURCE, write_archive

SECTION = Release(
    version="0.1.0", organization="fox", base_name="Small", chat_name="Small-chat", dataset_name="Small-data", licence="Apache-2.0",
    component_licences={"code": "Apache-2.0", "data": "CDLA-Permissive-2.0", "documents": "CC-BY-4.0"}, languages=["en"],
    summary="A model for tests.", openness_class="I", thresholds={}, approval=False, publish_checkpoints=True, publish_data=True,
)  # fmt: skip
CODE = {
    f"tasks.{name}": f"code-of-{name}"
    for name in ("curation", "tokenization", "training", "sft", "evaluation", "model", "serving", "runtime")
}
SOURCES = [
    "recipes/small.yaml", "tasks/curation/curate.py", "tasks/tokenization/tokenize.py", "tasks/model/decoder.py", "tasks/training/train.py",
    "tasks/engine/loop.py", "tasks/sft/finetune.py", "tasks/evaluation/score.py", "tasks/evaluation/items/piqa.jsonl", "tasks/serving/load.py",
    "tasks/runtime/code.py", "reynard/chat.py",
]  # fmt: skip
FILES = [
    "README.md", "DATA_CARD.md", "config.json", "generation_config.json", "model.safetensors", "reynard/recipe.yaml", "reynard/samples.json",
    "reynard/technical_report.md", "reynard/cards/piqa-0-shot.json",
]  # fmt: skip


def source(name: str, licence: str, **more: object) -> JSON:
    """Return a source as a recipe's section has it."""
    return {"name": name, "kind": "books", "format": "text", "location": f"{name}/*.txt", "licence": licence, "rules": "prose"} | more


def made(
    kind: str, name: str, section: JSON, package: str, parents: list[Manifest], counts: JSON | None = None, details: JSON | None = None
) -> Manifest:
    """Return the manifest of one file whose content is its name."""
    files = [FileEntry(path=f"{name}.bin", bytes=len(name), sha256=name.encode().hex().ljust(64, "0")[:64])]
    identity = {"kind": kind, "section": section, "code": CODE.get(package, "code"), "parents": {one.kind: one.digest for one in parents}}
    digest = content_digest(kind, files, counts or {})
    return Manifest(
        kind=kind, name=name, version=digest[:16], digest=digest, identity=identity, files=files, counts=counts or {}, details=details or {},
        recorded={}, records=[],
    )  # fmt: skip


def lineage(
    sources: list[JSON] | None = None, chats: list[JSON] | None = None, tokenizer: JSON | None = None, expand: JSON | None = None
) -> list[Manifest]:
    """Return a chat model's manifests, the checkpoint first: two sources, one made from the other, two stages, fine-tuning, scores, a card."""
    planted = source("planted", "as its origins", plants={"of": ["books"]}, location="")
    sources = sources or [source("books", "CC0-1.0", revision="1.2"), planted]
    chats = chats or [source("talks", "MIT")]
    raw = made("raw", "raw-documents", {"books": [["books/a.txt", 3, "sha256:00"]]}, "", [])
    raw_chats = made("raw", "raw-conversations", {"talks": [["talks/a.txt", 3, "sha256:01"]]}, "", [])
    section = {
        "sources": sources,
        "rules": {"prose": {}, "code": {"code": {"licences": ["MIT", "BSD-3-Clause"]}}},
        "language_model": None,
        "quality": None,
    }
    documents = made("documents", "documents", section, "tasks.curation", [raw], {"documents_kept": 3}, {"sources": {}})
    tokens = made("tokens", "tokens", {"load": tokenizer}, "tasks.tokenization", [documents], details={"tokenizer": {"sha256": "ab" * 32}})
    model = {"expand": expand}
    names = [one["name"] for one in sources if one.get("role", "corpus") == "corpus"]
    stages: list[Manifest] = []
    for name in ("stage1", "stage2"):
        mixture = {"mixture": dict.fromkeys(names, 100)}
        stages.append(made("checkpoint", name, {"model": model, "stage": {}}, "tasks.training", [*stages[-1:], tokens], details=mixture))
    conversations = made("conversations", "conversations", {"sources": chats}, "tasks.sft", [raw_chats])
    sft = made(
        "checkpoint",
        "sft",
        {"model": model, "sft": {}},
        "tasks.sft",
        [stages[-1], conversations],
        details={"mixture": {"conversations": 50}},
    )
    card = made("card", "card-piqa-0-shot", {}, "", [], details={"data": {"baber/piqa": "cd" * 32}})
    scores = made(
        "scores", "scores-chat", {"items": "sample"}, "tasks.evaluation", [sft, tokens], details={"benchmarks": [{"task": "piqa"}]}
    )
    return [sft, conversations, stages[1], stages[0], tokens, documents, raw, raw_chats, scores, card]


def lay_out(folder: Path, sources: list[str] = SOURCES) -> Path:
    """Write a released folder and, beside it, the project whose archive is in it; return the folder."""
    project, release = folder / "project", folder / "release"
    for root, names in ((project, sources), (release, FILES)):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
    write_archive(project, release / SOURCE)
    return release
