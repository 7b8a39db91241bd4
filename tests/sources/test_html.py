"""HTML: text of pages, their encodings, and pages made to stop the extraction."""

import pytest

from tasks.sources.html import MAX_OPEN_ELEMENTS, extract_text, is_nested_too_deeply

ARTICLE = (
    "<html><body><nav><a href='/'>Home</a></nav><main><article><h1>Title</h1><p>"
    + "A sentence of the article. " * 20
    + "</p></article></main></body></html>"
)


def test_all_text_has_the_navigation_and_main_content_has_not():
    assert "Home" in extract_text(ARTICLE.encode(), "all_text") and "Home" not in extract_text(ARTICLE.encode(), "main_content")
    assert "A sentence of the article." in extract_text(ARTICLE.encode(), "main_content")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_the_encoding_is_detected(encoding: str):
    page = "<p>Die Größe der Bäume überrascht auch die größten Zweifler, sagte er später.</p>"
    assert "Größe der Bäume" in extract_text(page.encode(encoding), "all_text")


def test_a_byte_order_mark_outweighs_what_the_page_says_of_itself():
    page = b"\xef\xbb\xbf" + '<meta charset="iso-8859-1"><p>Grüße</p>'.encode()
    assert extract_text(page, "all_text") == "Grüße"


@pytest.mark.parametrize(
    "page", [b"", b"<", b"<p>no end <b>at <a href='all", b"\0" * 1000, b"\xff\xfe\xfa", b"<!--", b"<script>" + b"x" * 9999]
)
def test_pages_without_end_give_what_they_have(page: bytes):
    assert isinstance(extract_text(page, "main_content"), str)


@pytest.mark.parametrize(
    ("page", "too_deep"),
    [
        (b"<div>" * MAX_OPEN_ELEMENTS, False),
        (b"<div>" * (MAX_OPEN_ELEMENTS + 1), True),
        (b"<b>" * 1_000_000, True),
        (b"<span>" * 50_000 + b"</div>" * 50_000, True),
        (b"<p>paragraph <br> <img src=x>" * 20_000, False),  # void and self-closing elements do not nest
        (b"<div><span>x</span></div>" * 20_000, False),
        (b"<" * 5_000_000, False),  # no tags at all
        (b"</div>" * 50_000, False),
    ],
)
def test_only_elements_that_are_open_at_once_are_nested(page: bytes, too_deep: bool):
    assert is_nested_too_deeply(page) == too_deep
