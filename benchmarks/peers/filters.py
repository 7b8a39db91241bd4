"""Heuristic filters of other projects: which documents each drops. Thresholds are each project's own defaults."""

from benchmarks.measuring import Task


def _datatrove(task: Task, make) -> dict:
    from datatrove.data import Document

    filters = make()
    for one in filters:  # loads the tokenizer
        one.filter(Document(text="Warm up. This is a document.", id="0"))
    removed = 0
    with task.measured():
        for text in task.texts():
            document = Document(text=text, id="")
            removed += not all(one.filter(document) is True for one in filters)
    return {"removed": removed}


def datatrove_gopher_quality(task: Task) -> dict:
    """Run datatrove's Gopher quality filter."""
    from datatrove.pipeline.filters import GopherQualityFilter

    return _datatrove(task, lambda: [GopherQualityFilter()])


def datatrove_gopher_repetition(task: Task) -> dict:
    """Run datatrove's Gopher repetition filter."""
    from datatrove.pipeline.filters import GopherRepetitionFilter

    return _datatrove(task, lambda: [GopherRepetitionFilter()])


def datatrove_fineweb(task: Task) -> dict:
    """Run datatrove's FineWeb filter."""
    from datatrove.pipeline.filters import FineWebQualityFilter

    return _datatrove(task, lambda: [FineWebQualityFilter()])


def datatrove_c4(task: Task) -> dict:
    """Run datatrove's C4 filter."""
    from datatrove.pipeline.filters import C4QualityFilter

    return _datatrove(task, lambda: [C4QualityFilter()])


def datatrove_together(task: Task) -> dict:
    """Run datatrove's Gopher and FineWeb filters on every document, until one drops it."""
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    return _datatrove(task, lambda: [GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter()])


def dolma_gopher(task: Task) -> dict:
    """Run dolma's Gopher tagger: it measures and drops nothing."""
    from dolma.core.data_types import Document
    from dolma.taggers.gopher import GopherTaggerV2

    tagger = GopherTaggerV2()
    with task.measured():
        for text in task.texts():
            tagger.predict(Document(source="", id="", text=text))
    return {"removed": 0, "note": "measures only"}
