"""The store and manifests: whole writes, sealed artifacts, and damage that is named."""

from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.artifacts.manifest import FileEntry, Manifest, content_digest, digest_of, read_manifest, write_manifest
from tasks.artifacts.store import Answering, Store, sha256_bytes


def seal(store: Store, folder: str = "documents/1") -> Manifest:
    store.write(f"{folder}/a.txt", b"hello")
    files = [FileEntry(path="a.txt", bytes=5, sha256=sha256_bytes(b"hello"))]
    manifest = Manifest(
        kind="documents", name="documents", version="1", digest=content_digest("documents", files, {"n": 1}), identity={}, files=files,
        counts={"n": 1}, details={}, recorded={}, records=[],
    )  # fmt: skip
    write_manifest(store, folder, manifest)
    return manifest


def test_an_artifact_without_success_does_not_exist(tmp_path: Path):
    store = Store(str(tmp_path))
    seal(store)
    (tmp_path / "documents/1/_SUCCESS").unlink()
    assert read_manifest(store, "documents/1") is None


def test_a_manifest_altered_after_sealing_is_refused(tmp_path: Path):
    store = Store(str(tmp_path))
    seal(store)
    path = tmp_path / "documents/1/manifest.json"
    path.write_text(path.read_text().replace('"n":1', '"n":2'))
    with pytest.raises(OSError, match="altered after it was sealed"):
        read_manifest(store, "documents/1")


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path):
    store = Store(str(tmp_path))
    assert read_manifest(store, "documents/1") is None
    assert read_manifest(Store(str(tmp_path)), "documents/1") is None
    manifest = seal(store)
    assert read_manifest(store, "documents/1") == manifest


def test_the_digest_is_of_content_alone():
    one = [FileEntry(path="a", bytes=1, sha256="x"), FileEntry(path="b", bytes=1, sha256="y")]
    assert content_digest("k", one, {"n": 1}) == content_digest("k", one[::-1], {"n": 1})
    assert content_digest("k", one, {"n": 1}) != content_digest("k", one, {"n": 2})
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_deleting_removes_the_seal_first_and_everything_after(tmp_path: Path):
    store = Store(str(tmp_path))
    seal(store)
    store.delete("documents/1")
    assert store.list("documents") == []


def test_a_store_of_an_unknown_kind_is_refused_with_the_way_out():
    with pytest.raises(BadInput, match=r"use a local folder or s3://bucket/prefix"):
        Store("ftp://somewhere/else")


def test_a_local_file_changed_after_sealing_is_refused_when_it_is_read(tmp_path: Path):
    store = Store(str(tmp_path))
    entry = seal(store).file("a.txt")
    assert store.local_copy("documents/1/a.txt", entry.sha256, tmp_path / "cache").read_bytes() == b"hello"
    (tmp_path / "documents/1/a.txt").write_bytes(b"jello")
    with pytest.raises(OSError, match="the file was changed or damaged"):
        store.local_copy("documents/1/a.txt", entry.sha256, tmp_path / "cache")


def test_a_server_that_is_not_there_is_an_os_error_and_no_object_that_is_missing():
    from botocore.exceptions import EndpointConnectionError

    class Silent:
        def __getattr__(self, name: str):
            def call(*arguments, **options):
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

            return call

    store = Store("s3://bucket/prefix")
    store.files = Answering(Silent())
    for ask in (store.exists, store.read, store.list, store.delete, lambda key: read_manifest(store, key)):
        with pytest.raises(OSError, match=r"EndpointConnectionError: Could not connect"):
            ask("documents/1")


def test_an_object_that_is_missing_elsewhere_does_not_exist_and_a_folder_is_none():
    class Elsewhere:
        def info(self, uri: str) -> dict:
            if uri.endswith("gone"):
                raise FileNotFoundError(uri)
            return {"type": "directory" if uri.endswith("folder") else "file"}

    store = Store("s3://bucket/prefix")
    store.files = Answering(Elsewhere())
    assert [store.exists(key) for key in ("gone", "folder", "file")] == [False, False, True]


@pytest.mark.slow
def test_empty_objects_that_stand_for_folders_are_no_objects(tmp_path: Path, monkeypatch):
    """SeaweedFS keeps one where all objects of a folder were removed, and consoles make them: nothing can be read there."""
    import boto3

    from infra.local.services import start_s3, stop

    process, variables = start_s3(tmp_path / "s3")
    try:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = Store(f"{variables['REYNARD_STORE']}/folders")
        store.write("working/1/job.json", b"{}")
        bucket, _, prefix = store.root.removeprefix("s3://").partition("/")
        client = boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"])
        for folder in ("working/", "working/1/", "working/1/journal/"):
            client.put_object(Bucket=bucket, Key=f"{prefix}/{folder}", Body=b"")
        assert store.list("working") == ["working/1/job.json"]
        assert store.list("working/1/journal") == [] and not store.exists("working/1/journal")
        store.delete("working")
        assert store.list("working") == []
    finally:
        stop(process)
