"""A recipe to the certainty that its run can start: every input found and pinned, every size dividing, before anything is spent."""

import os
from itertools import islice

from recipes.curation import DERIVED, Curation, Source
from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import open_store
from tasks.evaluation.suites import check_evaluation
from tasks.runtime.cluster import find_profile
from tasks.sft.chats import check_chats
from tasks.sources.files import find_files
from tasks.sources.records import read_unit
from tasks.sources.units import PinnedFile, Unit, pin_files

FIRST_RECORDS = 1000  # of a file, in which a readable one must be


def check_recipe(recipe: Recipe, profile_name: str, store_root: str) -> None:
    """Check all that costs nothing to check; BadInput names the first fault."""
    profile = find_profile(profile_name)
    for stage in recipe.pretraining.stages:
        _divides(
            stage.batch_units,
            profile.workers,
            f"stage {stage.name!r}: a batch of {stage.batch_tokens} tokens is",
            "batch_tokens",
        )
    check_evaluation(recipe.evaluation)
    for source in recipe.curation.sources:
        if source.format not in DERIVED:
            _check_first_record(recipe.curation, source)
    check_models(recipe.curation)
    check_chats(recipe.sft)
    if recipe.tokenization.load is not None:
        from tasks.tokenization.sentencepiece_model import load_given, open_model

        open_model(load_given(recipe.tokenization.load), recipe.tokenization.vocabulary_size)
    _check_store(store_root)
    check_rewriting(recipe.curation, store_root)


def check_without_data(recipe: Recipe, profile_name: str, store_root: str) -> None:
    """Check what a workflow needs that reads no raw data and trains nothing; BadInput names the first fault."""
    find_profile(profile_name)
    check_evaluation(recipe.evaluation)
    _check_store(store_root)


def check_models(section: Curation) -> None:
    """Check that everything curation reads besides raw data is there; BadInput names what is missing."""
    for location, wanted_by in (
        (section.blocked_urls, "curation.blocked_urls"),
        (section.decontamination and section.decontamination.location, "curation.decontamination"),
        (section.language_model and section.language_model.location, "curation.language_model"),
        (section.quality and section.quality.load and section.quality.load.location, "curation.quality"),
    ):
        if location:
            find_files(location, wanted_by)


def check_rewriting(section: Curation, store_root: str) -> None:
    """Check that somebody can answer what rewritten sources ask; BadInput if nobody can, and nobody ever did."""
    from tasks.curation.rewriting import URL_VARIABLE

    names = [source.name for source in section.sources if source.rewriting]
    if names and not os.environ.get(URL_VARIABLE) and not open_store(store_root).list("rewriting"):
        raise BadInput(
            f"source {names[0]!r} is rewritten by a language model, and {URL_VARIABLE} is not set: set it to the address of a server that speaks "
            "OpenAI's protocol (ending in /v1), or take the source out of the recipe"
        )


def _divides(units: int, workers: int, what: str, field: str) -> None:
    if units % workers:
        raise BadInput(
            f"{what} {units} units, which {workers} workers cannot share equally: make {field} a multiple of {workers} units, "
            f"or set REYNARD_WORKERS to a divisor of {units}"
        )


def _check_first_record(section: Curation, source: Source) -> None:
    if source.format == "dataset":
        files = pin_files(source)
    else:
        found = find_files(source.location, f"source {source.name!r}", source.revision)
        files = [PinnedFile(file.path, file.address, 0, "") for file in found]
    rules = section.rules_of(source)
    if not any(size_of(file) for file in files):
        raise BadInput(f"source {source.name!r} is empty: {len(files)} files of 0 bytes at {source.location!r}")
    for file in files:
        try:
            records = list(islice(read_unit(source, rules, Unit(source.name, (file,))), FIRST_RECORDS))
            if readable := [record for record in records if not record.fault]:
                if rules.blocked_urls and not any(record.url for record in readable):
                    raise BadInput(
                        f"source {source.name!r}: rules {source.rules!r} block addresses, and none of the first {len(readable)} records has one: "
                        f"check fields.url ({source.fields.url!r})"
                    )
                return
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"source {source.name!r}: {file.path} cannot be read as {source.format} ({type(error).__name__}: {str(error)[:120]}): "
                "check the file and the source's format"
            ) from None
    raise BadInput(
        f"source {source.name!r} has no readable record among the first {FIRST_RECORDS} of each of its {len(files)} files at {source.location!r}: "
        f"check its format ({source.format}), its fields (text is {source.fields.text!r}) and its `where`"
    )


def size_of(file: PinnedFile) -> int:
    """Return a local file's size; 1 for what lies elsewhere, which is not asked here."""
    return os.path.getsize(file.path) if os.path.isfile(file.path) else 1


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
    return _pin({source.name: pin_files(source) for source in section.sources if source.format not in DERIVED})


def pin_chats(recipe: Recipe) -> tuple[JSON, JSON]:
    """Return what the raw conversations are, and where each file lies."""
    return _pin({source.name: pin_files(source) for source in recipe.sft.sources})


def _pin(sources: dict[str, list[PinnedFile]]) -> tuple[JSON, JSON]:
    marks: JSON = {}
    places: JSON = {}
    for name, files in sources.items():
        marks[name] = sorted([file.address, file.bytes, file.mark] for file in files)
        places[name] = [{"address": file.address, "bytes": file.bytes, "mark": file.mark} for file in files]
        if not any(file.bytes or not file.mark.startswith("sha256:") for file in files):
            raise BadInput(f"source {name!r} is empty: {len(files)} files of 0 bytes, the first at {files[0].address!r}")
    return marks, places
