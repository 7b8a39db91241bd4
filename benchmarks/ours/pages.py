"""Pages of a WARC file to clean texts by this project's own functions. `documents` are pages; megabytes are of HTML as it came."""

from collections import Counter

from benchmarks.measuring import Task
from recipes.curation import Rules, Source


def source_of(location: str) -> Source:
    """Return a source that reads a WARC file."""
    return Source(name="crawl", kind="common_crawl", format="warc", location=location, licence="-", rules="pages")


def warc_to_text(task: Task) -> dict:
    """Read pages, guard against nested ones, extract their main content and clean it; `removed` are pages without a text."""
    from tasks.curation.cleaning import clean
    from tasks.sources.html import extract_text
    from tasks.sources.records import read_unit
    from tasks.sources.units import pin_files, plan_units

    source = source_of(str(task.input))
    rules = Rules(min_characters=0, max_characters=10**8, html="main_content")
    extract_text(b"<p>load the tables</p>", "main_content")
    empty = count = size = characters = 0
    with task.measured():
        (unit,) = plan_units(source, pin_files(source), 1 << 40)
        for record in read_unit(source, rules, unit, Counter()):
            if count == task.documents:
                break
            text, _ = clean(extract_text(record.html or b"", "main_content"), rules)
            count, size, characters = count + 1, size + len(record.html or b""), characters + len(text)
            empty += not text
    return {"removed": empty, "documents": count, "bytes": size, "characters": characters}
