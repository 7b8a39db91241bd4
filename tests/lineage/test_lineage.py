"""From a model back to its raw sources, forward from a source, as tree, page and JSON; and a recipe's two makings side by side."""

import re
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from reynard.main import app
from tasks.lineage.compare import DIFFERENT, EQUAL, MISSING, compare, compare_files, differing
from tasks.lineage.graph import Graph, graph_of, store_graph
from tasks.lineage.layout import Box, lay_out
from tests.lineage.small import SmallStore


def told(small: SmallStore, *options: str) -> str:
    ended = CliRunner().invoke(app, ["lineage", *options, "--store", str(small.root)])
    assert ended.exit_code == 0, ended.output
    return ended.output


def names(small: SmallStore, *options: str) -> list[str]:
    return [row["name"] for row in orjson.loads(told(small, *options, "--json"))["artifacts"]]


def test_a_model_leads_back_to_raw_sources_and_their_licences(small: SmallStore):
    found = names(small, "release-base")
    assert found[0] == "raw-documents" and found[-1] == "release-base"
    assert set(found) == {"raw-documents", "documents", "tokens", "one", "two", "card-x-base", "scores-base", "release-base"}
    text = told(small, "release-base")
    assert "CC0-1.0" in text and "MIT" in text and "parent one@" in text and text.count("(above)") == 3


def test_a_source_leads_forward_to_every_model_that_saw_it_and_to_no_other(small: SmallStore):
    assert {"one", "two", "sft", "release-base", "release-chat"} <= set(names(small, "--source", "a"))
    assert "one" not in names(small, "--source", "b") and "two" in names(small, "--source", "b")
    forward = names(small, "two", "--forward")
    assert set(forward) == {"two", "sft", "card-x-base", "card-x-chat", "scores-base", "scores-chat", "release-base", "release-chat"}


@pytest.mark.parametrize("how", ["name", "version", "digest", "place", "folder"])
def test_a_model_is_found_by_whatever_names_it(small: SmallStore, how: str):
    graph = store_graph(small.store)
    place, one = next((place, one) for place, one in graph.manifests.items() if one.name == "release-chat")
    asked = {"name": "release-chat", "version": f"release-chat@{one.version[:6]}", "digest": one.digest[:12], "place": place,
             "folder": str(small.folders["chat"])}[how]  # fmt: skip
    assert orjson.loads(told(small, asked, "--json"))["roots"] == [place]


def test_a_released_folder_tells_its_lineage_without_any_store(small: SmallStore, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("REYNARD_RUNS", str(tmp_path))
    import shutil

    folder = tmp_path / "downloaded"
    shutil.copytree(small.folders["base"], folder)
    ended = CliRunner().invoke(app, ["lineage", str(folder)])
    assert ended.exit_code == 0 and "downloaded" in ended.output and "raw-documents@" in ended.output and "CC0-1.0" in ended.output


def test_the_page_is_one_file_without_scripts_with_every_digest_and_a_row_for_every_box(small: SmallStore, tmp_path: Path):
    page = tmp_path / "lineage.html"
    told(small, "release-chat", "--html", str(page))
    text, graph = page.read_text(), store_graph(small.store)
    chat = graph.back([place for place, one in graph.manifests.items() if one.name == "release-chat"])
    assert (
        all(one.digest in text for one in chat.manifests.values())
        and "<script" not in text
        and "http" not in text.replace("http-equiv", "")
    )
    rows, links = set(re.findall(r'id="(artifact-[^"]+)"', text)), set(re.findall(r'href="#(artifact-[^"]+)"', text))
    assert links <= rows and len(rows) == len(chat.manifests)
    assert "CC0-1.0" in text and "prefers-color-scheme:dark" in text


def test_boxes_do_not_touch_and_every_line_goes_down_from_its_parent_to_its_child():
    boxes = [Box(f"n{n}", 60.0 + 20 * (n % 4), 40.0 + 10 * (n % 3)) for n in range(30)]
    edges = [
        (f"n{parent}", f"n{child}") for child in range(1, 30) for parent in {child // 2, child // 3, max(child - 7, 0)} if parent < child
    ]
    placed = lay_out(boxes, edges, 400.0)
    size = {box.key: box for box in boxes}
    corners = {key: (x, y, x + size[key].width, y + size[key].height) for key, (x, y) in placed.boxes.items()}
    for one, (a, b, c, d) in corners.items():
        assert a >= -0.01 and c <= placed.width + 0.01 and d <= placed.height + 0.01
        for other, (e, f, g, h) in corners.items():
            assert one == other or c <= e or g <= a or d <= f or h <= b, (one, other)
    for (parent, child), points in placed.lines.items():
        assert points[0][1] == corners[parent][3] and points[-1][1] == corners[child][1]
        assert [y for _, y in points] == sorted(y for _, y in points)


# --- two makings side by side ------------------------------------------------------------------------------------------------


def again(graph: Graph, name: str, **changes) -> Graph:
    """Return a graph in which one artifact came out otherwise."""
    return graph_of(one.model_copy(update=changes) if one.name == name else one for one in graph.manifests.values())


def test_two_makings_of_a_model_are_equal_artifact_by_artifact(small: SmallStore):
    graph = store_graph(small.store)
    root = next(place for place, one in graph.manifests.items() if one.name == "release-chat")
    rows = compare(graph.back([root]), [root], graph)
    assert {row.verdict for row in rows} == {EQUAL} and len(rows) == 10
    assert compare_files(small.folders["chat"], graph)[0].verdict == EQUAL


def test_the_first_that_differs_is_told_with_its_reason(small: SmallStore):
    graph = store_graph(small.store)
    root = next(place for place, one in graph.manifests.items() if one.name == "release-chat")
    released, two = graph.back([root]), next(one for one in graph.manifests.values() if one.name == "two")

    def first(**changes) -> tuple[str, list[str]]:
        (row,) = [row for row in compare(released, [root], again(graph, "two", **changes)) if row.verdict != EQUAL]
        return row.verdict, row.reasons

    assert first(digest="0" * 64) == (DIFFERENT, ["same recipe, code and parents: the environment, or something that chance decides"])
    assert first(digest="0" * 64, identity=two.identity | {"code": "new"})[1] == [f"code: {two.identity['code']} then, new now"]
    section = two.identity["section"] | {"seed": 4}
    assert first(digest="0" * 64, identity=two.identity | {"section": section})[1] == ["recipe: seed is 4, was 3"]
    without = graph_of(one for one in graph.manifests.values() if one.name != "scores-chat")
    missing = {row.name.split("@")[0] for row in compare(released, [root], without) if row.verdict == MISSING}
    assert missing == {"card-x-chat", "scores-chat"}


def test_fields_that_differ_are_named_with_both_values():
    assert differing({"a": {"b": [1, 2]}, "c": 1}, {"a": {"b": [1, 3]}, "d": 2}) == [
        "a.b[1] is 3, was 2",
        "c is None, was 1",
        "d is 2, was None",
    ]


def test_a_model_is_compared_with_a_store_that_was_made_before(small: SmallStore, tmp_path: Path):
    ended = CliRunner().invoke(app, ["reproduce", str(small.folders["base"]), "--made", str(small.root)])
    assert ended.exit_code == 0 and "✓ made again: all 8 have the same digests" in ended.output, ended.output
    ended = CliRunner().invoke(app, ["reproduce", str(tmp_path), "--made", str(small.root)])
    assert ended.exit_code == 2 and "only a released folder can be made again" in ended.output
