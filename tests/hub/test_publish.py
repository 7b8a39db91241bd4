"""The real client of the Hub against a Hub on loopback: what is published, continued, refused, and never told to anybody."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from recipes.errors import BadInput
from tasks.hub.client import Hub, Interrupted, endpoint
from tasks.hub.contents import Item, Revision, folder_items, text_item
from tasks.hub.publish import Published, Publisher, listing
from tests.hub.released import CARD, WEIGHTS, contents, lay_folder
from tests.hub.server import serve
from tests.hub.storage import Fault, Storage

TOKEN = "hf_recognisableTokenOfTheTests0123"
MODEL = "models/tester/m"


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serve(Storage(token=TOKEN, organizations=("house",), multipart_bytes=200_000)) as made:
        yield made


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """The client's library waits a second before it sends again; here it does not."""
    import time

    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(**(vars(time) | {"sleep": lambda seconds: None})))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_folder(tmp_path / "base")


def model(folder: Path, tag: str = "v0.1.0", branch: str = "main") -> Revision:
    return Revision("m", "model", branch, tag, f"m {tag or branch}", folder_items(folder))


def publish(
    storage: Storage, *revisions: Revision, token: str = TOKEN, organization: str = "", **options
) -> tuple[list[Published], list[str]]:
    lines: list[str] = []
    publisher = Publisher(Hub(storage.url, SecretStr(token)), False, lines.append, wait_seconds=0.0, **options)
    return publisher.publish(list(revisions), organization), lines


def sent(storage: Storage) -> int:
    """Return how many LFS objects arrived whole."""
    return len(storage.finished)


def test_a_published_folder_is_downloaded_again_byte_for_byte(storage, folder, tmp_path):
    from huggingface_hub import snapshot_download

    done, lines = publish(storage, model(folder))
    repository = storage.repositories[MODEL]
    assert repository.files("v0.1.0") == repository.files("main") == contents(folder)
    assert done == [Published("tester/m", "model", "v0.1.0", repository.tags["v0.1.0"], True)]
    assert lines[-1] == f"✓ tester/m@v0.1.0 is there now: {storage.url}/tester/m/tree/v0.1.0"
    assert storage.commits() == 1  # one for all files: no reader sees a part of them
    assert storage.count("PUT", "/lfs/") == 3 * 2 + 1  # 300,000 bytes in parts of 200,000, three times, and the tokenizer at once
    for revision in ("v0.1.0", "main"):
        place = tmp_path / "down" / revision
        snapshot_download("tester/m", revision=revision, local_dir=place, endpoint=storage.url, token=TOKEN, cache_dir=tmp_path / "cache")
        assert {path: data for path, data in contents(place).items() if path[0] != "."} == contents(folder)


def test_the_same_release_twice_makes_no_commit_and_sends_nothing(storage, folder):
    first, _ = publish(storage, model(folder))
    before = (storage.commits(), sent(storage), storage.count("POST", "commit|tag|branch|create|batch"))
    again, lines = publish(storage, model(folder))
    assert (storage.commits(), sent(storage), storage.count("POST", "commit|tag|branch|create|batch")) == before
    assert again[0].commit == first[0].commit and not again[0].is_new
    assert lines == [f"✓ tester/m@v0.1.0 was there already, nothing changed: {storage.url}/tester/m/tree/v0.1.0"]


def test_other_content_under_the_same_version_is_refused_before_anything_is_sent(storage, folder, tmp_path):
    publish(storage, model(folder))
    before, other = list(storage.requests), lay_folder(tmp_path / "other", seed=1)
    dataset = Revision("d", "dataset", "main", "v0.1.0", "d", [text_item("README.md", CARD)])
    with pytest.raises(
        BadInput, match=r"tester/m@v0\.1\.0 is published with other content \(.*safetensors.* and \d more\).*raise release\.version"
    ):
        publish(storage, dataset, model(other))  # the data set could be published, and is not
    assert all(method == "GET" for method, _ in storage.requests[len(before) :]) and list(storage.repositories) == [MODEL]
    publish(storage, model(other, "v0.2.0"))
    repository = storage.repositories[MODEL]
    assert repository.files("v0.1.0") == contents(folder) and repository.files("v0.2.0") == repository.files("main") == contents(other)


def test_a_file_that_the_new_version_lacks_goes_and_one_that_is_equal_is_not_sent(storage, tmp_path):
    publish(storage, model(lay_folder(tmp_path / "one", chat_template="{{ x }}")))
    objects = sent(storage)
    publish(storage, model(lay_folder(tmp_path / "two"), "v0.2.0"))
    repository = storage.repositories[MODEL]
    assert "chat_template" in repository.files("v0.1.0") and "chat_template" not in repository.files("v0.2.0")
    assert sent(storage) == objects and storage.commits() == 2


def test_a_record_may_differ_between_equal_releases(storage, folder):
    (folder / "reynard" / "sbom.cdx.json").write_text("made on monday")  # not among the sums
    publish(storage, model(folder))
    (folder / "reynard" / "sbom.cdx.json").write_text("made on tuesday")
    done, _ = publish(storage, model(folder))
    assert not done[0].is_new and storage.commits() == 1
    assert storage.repositories[MODEL].files("v0.1.0")["reynard/sbom.cdx.json"] == b"made on monday"


def test_a_checkpoint_becomes_a_branch_without_the_files_of_main(storage, folder):
    checkpoint = Revision("m", "model", "stage1-step2-tokens1K", "", "c", [text_item("README.md", CARD), text_item("config.json", "{}")])
    publish(storage, model(folder), checkpoint)
    repository = storage.repositories[MODEL]
    assert repository.files("stage1-step2-tokens1K") == {"README.md": CARD.encode(), "config.json": b"{}"}
    assert repository.files("main") == contents(folder) and set(repository.tags) == {"v0.1.0"}
    again, _ = publish(storage, model(folder), checkpoint)
    assert not any(one.is_new for one in again) and storage.commits() == 2
    other = Revision("m", "model", "stage1-step2-tokens1K", "", "c", [text_item("README.md", CARD + "!"), text_item("config.json", "[]")])
    with pytest.raises(BadInput, match=r"stage1-step2-tokens1K is published with other content.*publish without checkpoints"):
        publish(storage, other)
    assert storage.commits() == 2


def test_a_data_set_has_its_own_address_and_a_private_repository_is_private(storage):
    revision = Revision("d", "dataset", "main", "v0.1.0", "d", [text_item("README.md", CARD), text_item("data/a.jsonl.zst", "rows")])
    lines: list[str] = []
    done = Publisher(Hub(storage.url, SecretStr(TOKEN)), True, lines.append).publish([revision], "house")
    repository = storage.repositories["datasets/house/d"]
    assert repository.private and repository.files("v0.1.0") == {"README.md": CARD.encode(), "data/a.jsonl.zst": b"rows"}
    assert done[0].url(storage.url) == f"{storage.url}/datasets/house/d/tree/v0.1.0"


# --- what goes wrong on the way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "whoami", status=503), Fault("POST", "repos/create", status=500), Fault("POST", "preupload", status=502),
        Fault("POST", "objects/batch", status=504), Fault("PUT", "/lfs/", status=500), Fault("PUT", "/lfs/", cut_after=100_000),
        Fault("PUT", "/lfs/", unanswered=True), Fault("POST", "complete", status=500), Fault("POST", "verify", status=500),
        Fault("POST", "/commit/", status=503), Fault("POST", "/commit/", cut_after=10), Fault("POST", "/commit/", unanswered=True),
        Fault("POST", "/commit/", status=412), Fault("POST", "/tag/", status=500), Fault("POST", "/tag/", unanswered=True),
        Fault("GET", "/tree/", status=429), Fault("GET", "/refs", unanswered=True), Fault("POST", "repos/create", unanswered=True),
        Fault("POST", "repos/create", status=409, words="Cannot create repo: another conflicting operation is in progress"),
    ],
    ids=lambda fault: f"{fault.method}{fault.path.replace('/', '-')}-{fault.status or ('cut' if fault.cut_after else 'unanswered')}",
)  # fmt: skip
def test_whatever_fails_once_is_done_all_the_same_and_only_once(storage, folder, fault):
    storage.faults.append(fault)
    done, _ = publish(storage, model(folder))
    repository = storage.repositories[MODEL]
    assert fault.times == 0 and done[0].commit == repository.tags["v0.1.0"]
    assert repository.files("v0.1.0") == contents(folder) and storage.commits() == 1
    assert len(storage.finished) == len(set(storage.finished)) == 4  # no object was sent whole twice


def test_a_hub_that_stays_down_is_given_up_with_what_to_do(storage, folder):
    storage.faults.append(Fault("POST", "/commit/", status=503, times=99))
    with pytest.raises(
        Interrupted, match=r"did not let us commit to tester/m \(status 503: .*what was uploaded stays there, so run the same"
    ):
        publish(storage, model(folder), attempts=3)
    assert storage.count("POST", "/commit/") == 3 and sent(storage) == 4
    storage.faults.clear()
    publish(storage, model(folder))
    assert sent(storage) == 4 and storage.repositories[MODEL].files("v0.1.0") == contents(folder)


def test_a_connection_that_breaks_again_and_again_loses_no_finished_file(storage, folder):
    storage.multipart_bytes = 1_000_000  # each file in one piece
    storage.faults.append(Fault("PUT", "/lfs/", cut_after=1000, skip=2, times=99))
    with pytest.raises(Interrupted, match="stays there"):
        publish(storage, model(folder), attempts=2)
    finished = list(storage.finished)
    storage.faults.clear()
    before = storage.count("PUT", "/lfs/")
    publish(storage, model(folder))
    assert storage.count("PUT", "/lfs/") - before == 4 - len(finished) and set(finished) < set(storage.finished)
    assert storage.repositories[MODEL].files("v0.1.0") == contents(folder)


def test_a_release_that_was_committed_and_not_tagged_is_only_tagged(storage, folder):
    storage.faults.append(Fault("POST", "/tag/", status=503, times=99))
    with pytest.raises(Interrupted):
        publish(storage, model(folder), attempts=2)
    assert storage.repositories[MODEL].tags == {} and storage.commits() == 1
    storage.faults.clear()
    publish(storage, model(folder))
    assert storage.commits() == 1 and storage.repositories[MODEL].files("v0.1.0") == contents(folder)


def test_a_branch_that_was_left_empty_is_filled(storage, folder):
    checkpoint = Revision("m", "model", "stage1", "", "c", [text_item("README.md", CARD)])
    storage.faults.append(Fault("POST", "/commit/stage1", status=503, times=99))
    with pytest.raises(Interrupted):
        publish(storage, model(folder), checkpoint, attempts=2)
    assert storage.repositories[MODEL].files("stage1") == {}
    storage.faults.clear()
    publish(storage, model(folder), checkpoint)
    assert storage.repositories[MODEL].files("stage1") == {"README.md": CARD.encode()}


def test_somebody_elses_commit_in_between_is_built_upon(storage, folder):
    publish(storage, model(folder))
    repository = storage.repositories[MODEL]
    storage.commit(
        "models", "tester/m", "main", [{"value": {"summary": "a note"}}, {"key": "file", "value": {"path": "NOTE", "content": ""}}]
    )
    done, _ = publish(storage, model(folder))  # the version is what its tag says, whatever happens on main
    assert not done[0].is_new and "NOTE" in repository.files("main")


# --- who may, and what is said -----------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_in_one_clear_sentence(storage, folder):
    with pytest.raises(
        BadInput, match=r"refuses the token: it is wrong, expired or revoked; make one with write access at http.*/settings/tokens"
    ):
        publish(storage, model(folder), token="hf_wrong")
    assert storage.repositories == {} and len(storage.requests) == 1


def test_a_token_that_only_reads_or_belongs_to_others_is_refused_before_anything_is_sent(storage, folder):
    storage.role = "read"
    with pytest.raises(BadInput, match="can only read: make one with write access"):
        publish(storage, model(folder))
    storage.role = "fineGrained"
    with pytest.raises(BadInput, match="cannot publish under 'strangers': choose one of tester, house"):
        publish(storage, model(folder), organization="strangers")
    storage.may_write = False
    with pytest.raises(BadInput, match="may not create tester/m: give one with write access to it, or another --organization"):
        publish(storage, model(folder))
    assert storage.repositories == {}


def test_a_card_that_the_hub_refuses_is_told_in_its_words(storage, folder, tmp_path):
    with pytest.raises(BadInput, match=r"commit to tester/m: Invalid metadata in README\.md\. - metadata is missing"):
        publish(storage, Revision("m", "model", "main", "v0.1.0", "t", [text_item("README.md", "no metadata")]))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "whoami", status=500, words=f"bad {TOKEN}", times=99), Fault("GET", "whoami", status=401, words=f"bad {TOKEN}"),
        Fault("POST", "create", status=403, words=f"bad {TOKEN}"), Fault("POST", "preupload", status=400, words=f"bad {TOKEN}"),
        Fault("PUT", "/lfs/", status=403, words=f"bad {TOKEN}", times=99), Fault("PUT", "/lfs/", cut_after=9, times=99),
        Fault("POST", "/commit/", status=400, words=f"bad {TOKEN}"), Fault("POST", "/commit/", unanswered=True, times=99),
    ],
    ids=lambda fault: f"{fault.method}{fault.path.replace('/', '-')}-{fault.status}",
)  # fmt: skip
def test_no_error_tells_the_token_nor_what_signs_an_address(storage, folder, fault, caplog, capfd):
    from rich.console import Console
    from rich.traceback import Traceback

    caplog.set_level("DEBUG")
    storage.faults.append(fault)
    with pytest.raises((BadInput, Interrupted)) as told:
        publish(storage, model(folder), attempts=1)  # a second one would find an unanswered commit done
    console = Console(record=True, width=400, file=open("/dev/null", "w"))  # noqa: SIM115
    error = told.value
    console.print(
        Traceback.from_exception(type(error), error, error.__traceback__.tb_next.tb_next, show_locals=True, locals_max_string=9999)
    )
    frames = "".join(traceback.format_exception(error)) + console.export_text()
    assert "Publisher" in frames  # variables are shown
    for text in (str(error), frames, caplog.text, *capfd.readouterr()):
        assert TOKEN not in text and "0badc0de" not in text
    assert "huggingface_hub" not in "".join(traceback.format_tb(error.__traceback__))  # whose variables hold the token


@pytest.mark.parametrize(
    "address, words",
    [
        ("https://me:pass@hub", "carries a user"), ("https://hub?key=pass", "carries a user"), ("http://hub.example", "readable to all"),
        ("ftp://hub", "readable to all"),
    ],
)  # fmt: skip
def test_an_endpoint_that_would_leak_is_refused(monkeypatch, address, words):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(BadInput, match=words) as told:
        endpoint()
    assert "pass" not in str(told.value).replace("a password", "")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    assert endpoint() == "http://127.0.0.1:9"
    monkeypatch.delenv("HF_ENDPOINT")
    assert endpoint() == "https://huggingface.co"


# --- what is published -------------------------------------------------------------------------------------------------------


def test_a_folder_that_was_altered_or_leads_out_of_itself_is_refused(folder, tmp_path):
    (folder / "config.json").write_bytes(b"{}")
    (folder / WEIGHTS[0]).unlink()
    with pytest.raises(BadInput, match=f"is not what was released: config.json, {WEIGHTS[0]} differs from SHA256SUMS"):
        folder_items(folder)
    lay_folder(folder)
    (folder / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="passwords is a link, which may lead out of the folder"):
        folder_items(folder)
    (folder / "passwords").unlink()
    (folder / ".env").write_text("HF_TOKEN=x")
    with pytest.raises(BadInput, match=r"\.env is hidden"):
        folder_items(folder)
    with pytest.raises(BadInput, match="has no SHA256SUMS: give a folder that a release laid down"):
        folder_items(tmp_path)


def test_the_listing_names_every_file_with_its_size_and_asks_nobody(folder):
    lines = listing([model(folder)], "tester", "https://hub", False)
    assert lines[0] == "repository https://hub/tester/m (public model)"
    assert lines[1].startswith("  one commit to main, tagged v0.1.0: 10 files, ")
    for path, data in contents(folder).items():
        assert any(line.split()[0] == f"{len(data):,}" and line.endswith(f"  {path}") for line in lines[2:-1])
    total = sum(len(data) for data in contents(folder).values())
    assert lines[-1].startswith("1 revisions in 1 repositories, ") and lines[-1].endswith(f"({total:,} bytes); nothing was sent")


def test_only_what_is_uploaded_is_fetched(storage):
    fetched: list[str] = []

    def item(name: str) -> Item:
        made = text_item(name, f"{name} {'x' * 10}")
        return Item(made.path, made.bytes, made.sha256, lambda: fetched.append(name) or made.fetch())

    items = [text_item("README.md", CARD), *(item(f"data/{n}.jsonl.zst") for n in range(7))]
    publish(storage, Revision("d", "dataset", "main", "v0.1.0", "d", items))
    assert set(fetched) == {f"data/{n}.jsonl.zst" for n in range(7)}
    fetched.clear()
    publish(storage, Revision("d", "dataset", "main", "v0.2.0", "d", [*items, item("data/7.jsonl.zst")]))
    assert set(fetched) == {"data/7.jsonl.zst"}
