"""Pages of a WARC file to text by other projects. `documents` are pages; megabytes are of HTML as it came."""

from collections.abc import Iterator

from benchmarks.measuring import Task


def pages(task: Task) -> Iterator[bytes]:
    """Read the bodies of the task's first pages."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    left = task.documents
    with task.input.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if left == 0:
                return
            left -= 1
            yield record.reader.read()


def _each(task: Task, work) -> dict:
    empty = count = size = 0
    with task.measured():
        for page in pages(task):
            count, size = count + 1, size + len(page)
            empty += not work(page)
    return {"removed": empty, "documents": count, "bytes": size}


def fastwarc(task: Task) -> dict:
    """Read the pages with FastWARC; do nothing with them."""
    return _each(task, lambda page: True)


def resiliparse_parse(task: Task) -> dict:
    """Detect the encoding and parse the HTML with resiliparse."""
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    return _each(task, lambda page: HTMLTree.parse_from_bytes(page, detect_encoding(page)))


def _resiliparse(task: Task, main_content: bool) -> dict:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    return _each(task, lambda page: extract_plain_text(bytes_to_str(page, detect_encoding(page)), main_content=main_content))


def resiliparse_all_text(task: Task) -> dict:
    """Extract all text with resiliparse."""
    return _resiliparse(task, False)


def resiliparse_main_content(task: Task) -> dict:
    """Extract the main content with resiliparse."""
    return _resiliparse(task, True)


def trafilatura(task: Task) -> dict:
    """Extract the main content with trafilatura."""
    from trafilatura import extract

    return _each(task, lambda page: extract(page))
