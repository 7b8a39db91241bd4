"""What one record of a raw source is: its text or its page, where it was read, and what was said about it."""

from typing import NamedTuple

UNREADABLE = "unreadable"
TOO_LONG = "too_long"


class Record(NamedTuple):  # a frozen dataclass takes five times as long to make, as long as parsing the row
    """A raw record. `address` (`file#position`) leads back to its bytes, so that every document of a model does.

    `fault` is empty for a good record, which has a `text`, or `html`: the bytes of a page whose text is still to be extracted.
    A record with a fault has neither.
    """

    text: str | None
    address: str
    fault: str = ""
    url: str = ""
    path: str = ""
    licences: tuple[str, ...] = ()
    html: bytes | None = None


def faulty(address: str, fault: str = UNREADABLE) -> Record:
    """Return the record that stands for bytes which give no text."""
    return Record(None, address, fault)
