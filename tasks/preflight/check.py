"""A recipe to the certainty that its run can start: every input found and pinned, every size dividing, before anything is spent."""

from recipes.errors import BadInput
from recipes.schema import Curation, Recipe, Source
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import open_store
from tasks.evaluation.evaluate import check_evaluation
from tasks.runtime.cluster import find_profile
from tasks.sft.chats import check_chats
from tasks.sources.files import RawFile, find_files, fingerprint
from tasks.sources.records import read_records


def check_recipe(recipe: Recipe, profile_name: str, store_root: str) -> None:
    """Check all that costs nothing to check; BadInput names the first fault."""
    profile = find_profile(profile_name)
    for stage in recipe.pretraining.stages:
        _divides(
            stage.batch_tokens // stage.unit_tokens,
            profile.workers,
            f"stage {stage.name!r}: a batch of {stage.batch_tokens} tokens is",
            "batch_tokens",
        )
    _divides(recipe.sft.batch_conversations, profile.workers, "sft: a batch is", "sft.batch_conversations")
    check_evaluation(recipe.evaluation)
    for source in recipe.curation.sources:
        if source.format != "planted":
            _check_first_record(source, find_files(source.location, f"source {source.name!r}"))
    check_chats(recipe.sft)
    if recipe.tokenization.load is not None:
        from tasks.tokenization.sentencepiece_model import load_given, open_model

        open_model(load_given(recipe.tokenization.load), recipe.tokenization.vocabulary_size)
    _check_store(store_root)


def _divides(units: int, workers: int, what: str, field: str) -> None:
    if units % workers:
        raise BadInput(
            f"{what} {units} units, which {workers} workers cannot share equally: make {field} a multiple of {workers} units, "
            f"or set REYNARD_WORKERS to a divisor of {units}"
        )


def _check_first_record(source: Source, files: list[RawFile]) -> None:
    for file in files:
        try:
            if any(True for _ in read_records(source.format, file, source.text_field)):
                return
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"source {source.name!r}: {file.path} cannot be read as {source.format} ({type(error).__name__}: {str(error)[:120]}): "
                "check the file and the source's format"
            ) from None
    raise BadInput(f"source {source.name!r} is empty: none of its {len(files)} files at {source.location!r} holds a record")


def _check_store(root: str) -> None:
    store = open_store(root)
    try:
        store.write("started", b"a run was started here\n")
    except Exception as error:
        raise BadInput(
            f"artifact store {root!r} cannot be written ({type(error).__name__}: {str(error)[:160]}): check REYNARD_STORE, and for s3:// the bucket, "
            "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None


def pin_sources(section: Curation) -> tuple[JSON, JSON]:
    """Return what the raw documents are (digests by source, the identity of curation's input) and where each file lies."""
    return _pin([(source.name, source.location) for source in section.sources if source.format != "planted"])


def pin_chats(recipe: Recipe) -> tuple[JSON, JSON]:
    """Return what the raw conversations are, and where each file lies."""
    return _pin([(source.name, source.location) for source in recipe.sft.sources])


def _pin(sources: list[tuple[str, str]]) -> tuple[JSON, JSON]:
    marks: JSON = {}
    places: JSON = {}
    for name, location in sources:
        pinned = [(file.address, *fingerprint(file)) for file in find_files(location, f"source {name!r}")]
        marks[name] = sorted([size, mark] for _, size, mark in pinned)
        places[name] = [{"address": address, "bytes": size, "mark": mark} for address, size, mark in pinned]
        if not any(size for _, size, _ in pinned):
            raise BadInput(f"source {name!r} is empty: {len(pinned)} files of 0 bytes at {location!r}")
    return marks, places
