"""Rewriting against a real server on loopback that fails, refuses and is interrupted; answers are asked for once."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.curation import Rewriting
from recipes.errors import BadInput
from tasks.artifacts.store import Store
from tasks.curation.rewriting import AnswerStore, ChatServer, passages, rewrite

KEY = "sk-test-0123456789abcdefghij"
RULE = Rewriting(
    of=["books"],
    model="writer",
    prompt="Write anew: {text}",
    documents=3,
    passage_characters=20,
    max_answer_tokens=64,
    temperature=0.0,
    seed=1,
)
DOCUMENTS = [("id1", "first one"), ("id2", "second paragraph\n\nthird paragraph"), ("id3", "fourth one")]
EXPECTED = [("id1", "FIRST ONE"), ("id2", "SECOND PARAGRAPH\n\nTHIRD PARAGRAPH"), ("id3", "FOURTH ONE")]


class Server(ThreadingHTTPServer):
    """Answers with the passage in capitals; `plan` holds statuses to give first, `refuse` texts that are never answered."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict] = []
        self.keys: set[str | None] = set()
        self.plan: list[tuple[int, dict, str]] = []
        self.refuse: dict[str, int] = {}
        self.reply = None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        self.server.keys.add(self.headers.get("Authorization"))
        passage = request["messages"][0]["content"].removeprefix("Write anew: ")
        status, headers, body = self.server.plan.pop(0) if self.server.plan else (self.server.refuse.get(passage, 200), {}, "refused")
        if status == 200:
            choice = {"message": {"content": passage.upper()}, "finish_reason": "stop"}
            body = json.dumps(self.server.reply or {"model": "writer-1", "choices": [choice], "usage": {"total_tokens": 9}})
        self.send_response(status if self.path == "/v1/chat/completions" else 404)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        monkeypatch.setenv("REYNARD_REWRITE_URL", running.url)
        monkeypatch.setenv("REYNARD_REWRITE_KEY", KEY)
        yield running
        running.shutdown()


def answers_in(tmp_path: Path) -> AnswerStore:
    return AnswerStore(Store(str(tmp_path / "store")))


def impatient(server: Server, waits: list[float], attempts: int = 4, key: str = KEY) -> ChatServer:
    """Make a client that notes how long it would wait and does not."""
    return ChatServer(server.url, key, attempts=attempts, timeout_seconds=10.0, wait=waits.append)


def test_documents_are_rewritten_passage_by_passage_and_a_rerun_asks_nothing(server: Server, tmp_path: Path, monkeypatch):
    counts = Counter()
    assert list(rewrite(RULE, DOCUMENTS, answers_in(tmp_path), counts=counts)) == EXPECTED
    assert dict(counts) == {"documents": 3, "passages": 4, "asked": 4, "truncated": 0, "empty": 0}
    assert server.keys == {f"Bearer {KEY}"}
    assert server.asked[0] | {"messages": 0} == {"model": "writer", "messages": 0, "temperature": 0.0, "seed": 1, "max_tokens": 64}
    monkeypatch.delenv("REYNARD_REWRITE_URL")  # nothing is missing, so no server is needed
    assert list(rewrite(RULE, DOCUMENTS, answers_in(tmp_path))) == EXPECTED
    assert len(server.asked) == 4


def test_after_a_failure_in_the_middle_only_missing_answers_are_asked_for(server: Server, tmp_path: Path):
    waits: list[float] = []
    server.refuse = {"third paragraph": 503}
    with pytest.raises(
        ConnectionError, match=r"gave no answer in 4 attempts \(status 503\): run again, only missing answers are asked for"
    ):
        list(rewrite(RULE, DOCUMENTS, answers_in(tmp_path), impatient(server, waits), parallel=1))
    assert waits == [1.0, 2.0, 4.0]
    asked = Counter(request["messages"][0]["content"] for request in server.asked)
    assert asked == {"Write anew: first one": 1, "Write anew: second paragraph": 1, "Write anew: third paragraph": 4}
    server.refuse, server.asked = {}, []
    assert list(rewrite(RULE, DOCUMENTS, answers_in(tmp_path), impatient(server, waits))) == EXPECTED
    assert sorted(request["messages"][0]["content"] for request in server.asked) == [
        "Write anew: fourth one",
        "Write anew: third paragraph",
    ]


def test_busy_and_broken_servers_are_waited_for_as_long_as_they_ask(server: Server):
    waits: list[float] = []
    server.plan = [(429, {"Retry-After": "7"}, "busy"), (500, {}, "broken"), (429, {"Retry-After": "9999"}, "busy")]
    assert impatient(server, waits)({"messages": [{"content": "Write anew: a"}]})["answer"] == "A"
    assert waits == [7.0, 2.0, 60.0]


def test_a_server_that_is_not_there_is_a_connection_error(server: Server):
    address = server.url
    server.shutdown()
    server.server_close()
    waits: list[float] = []
    with pytest.raises(ConnectionError, match=r"gave no answer in 2 attempts \(ConnectError\)"):
        ChatServer(address, KEY, attempts=2, wait=waits.append)({"messages": [{"content": "a"}]})
    assert waits == [1.0]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"refuses the key \(status 401\): set REYNARD_REWRITE_KEY to one that may use model 'writer'"),
        (404, r"has no model 'writer' \(status 404\): check REYNARD_REWRITE_URL and rewriting.model"),
        (400, r"refuses the request \(status 400: bad key \*\*\*\)"),
    ],
)
def test_a_refusal_is_bad_input_at_once_and_never_tells_the_key(server: Server, tmp_path: Path, caplog, status: int, said: str):
    waits: list[float] = []
    server.plan = [(status, {}, f"bad key {KEY}")]
    with caplog.at_level("DEBUG"), pytest.raises(BadInput, match=said) as error:
        list(rewrite(RULE, DOCUMENTS[:1], answers_in(tmp_path), impatient(server, waits)))
    assert waits == [] and len(server.asked) == 1
    assert KEY not in str(error.value) and KEY not in caplog.text


def test_the_key_is_in_nothing_that_is_stored(server: Server, tmp_path: Path):
    list(rewrite(RULE, DOCUMENTS, answers_in(tmp_path)))
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        assert KEY not in path.read_text() and "127.0.0.1" not in path.read_text()
    stored = json.loads(files[0].read_text())
    assert set(stored) == {"answer", "finish_reason", "model", "request", "usage"} and stored["model"] == "writer-1"


def test_cut_and_empty_answers_are_counted(server: Server, tmp_path: Path):
    counts = Counter()
    server.reply = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    assert list(rewrite(RULE, DOCUMENTS[:1], answers_in(tmp_path), counts=counts)) == [("id1", "")]
    assert dict(counts) == {"documents": 1, "passages": 1, "asked": 1, "truncated": 1, "empty": 1}


@pytest.mark.parametrize("reply", [{"hello": 1}, {"choices": []}, ["no"], {"choices": [{"text": "old protocol"}]}])
def test_an_answer_in_another_protocol_is_bad_input(server: Server, reply):
    server.reply = reply
    with pytest.raises(BadInput, match="answers, but not in OpenAI's chat protocol: check REYNARD_REWRITE_URL"):
        impatient(server, [])({"messages": [{"content": "a"}]})


def test_what_the_environment_lacks_or_misplaces_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("REYNARD_REWRITE_URL", raising=False)
    with pytest.raises(BadInput, match="REYNARD_REWRITE_URL is not set and answers are missing: set it to a server"):
        list(rewrite(RULE, DOCUMENTS, answers_in(tmp_path)))
    with pytest.raises(BadInput, match="must be like http://host:8000/v1") as error:
        ChatServer(f"http://{KEY}@host/v1")
    assert KEY not in str(error.value)
    with pytest.raises(BadInput, match="REYNARD_REWRITE_KEY has characters that no header can carry"):
        ChatServer("http://host/v1", "sk-\nx")


def test_a_stored_answer_to_another_question_is_damage(tmp_path: Path):
    answers = answers_in(tmp_path)
    answers.keep({"model": "a"}, {"answer": "x"})
    assert answers.find({"model": "a"})["answer"] == "x"
    assert answers.find({"model": "b"}) is None
    answers.store.write(answers.key({"model": "b"}), answers.store.read(answers.key({"model": "a"})))
    with pytest.raises(OSError, match="holds the answer to another question"):
        answers.find({"model": "b"})


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("aa\n\nbb\n\ncc", 6, ["aa\n\nbb", "cc"]),
        ("aa\n\nbb\n\ncc", 100, ["aa\n\nbb\n\ncc"]),
        ("aaa bbb ccc", 7, ["aaa bbb", "ccc"]),
        ("aaa\nbbb ccc", 9, ["aaa", "bbb ccc"]),
        ("aaaaaaa", 3, ["aaa", "aaa", "a"]),
        (" \n\n \n\n", 3, []),
    ],
)
def test_passages_are_cut_at_the_borders_of_paragraphs(text: str, limit: int, expected: list[str]):
    assert passages(text, limit) == expected


@given(st.text("ab \n"), st.integers(1, 9))
def test_passages_are_short_enough_and_lose_nothing_but_white_space(text: str, limit: int):
    cut = passages(text, limit)
    assert all(0 < len(passage) <= limit for passage in cut)
    assert "".join("".join(cut).split()) == "".join(text.split())


def test_rewritten_books_come_through_curation_and_a_rerun_asks_nothing(tmp_path: Path, monkeypatch):
    from tests.curation.corpora import PLAIN, TEXTS, run, section, write_jsonl

    books = write_jsonl(tmp_path / "books.jsonl", [[text] for text in [*TEXTS, "too short"]])
    rewriting = RULE.model_dump() | {"documents": 2, "passage_characters": 5000}
    sources = [
        {"name": "books", "kind": "books", "location": books},
        {"name": "anew", "kind": "rewritten_books", "format": "rewritten", "location": "", "rewriting": rewriting},
    ]
    curation = section(sources, {"plain": PLAIN | {"near_duplicates": None}})
    with pytest.raises(BadInput, match="REYNARD_REWRITE_URL"):
        run(curation, tmp_path / "out")
    server = Server()
    monkeypatch.setenv("REYNARD_REWRITE_URL", server.url)
    result = run(curation, tmp_path / "out")
    chosen = sorted(result.kept["books"], key=lambda row: row["id"])[:2]
    assert result.texts("anew") == sorted(row["text"].upper() for row in chosen)
    assert {row["raw"] for row in result.kept["anew"]} == {f"rewritten:{row['id']}" for row in chosen}
    assert result.details["sources"]["anew"]["made"]["documents"] == 2
    asked = len(server.asked)
    server.shutdown()
    monkeypatch.delenv("REYNARD_REWRITE_URL")
    result.store.delete("working/curation/derive", first="done.json")
    again = run(curation, tmp_path / "out")
    assert again.files == result.files and len(server.asked) == asked > 0 and again.made["derive"] == 1
