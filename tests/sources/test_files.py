"""Locations: revisions of the hub, addresses that are found again, and failures that are not damage."""

import io

import fsspec
import pytest

from recipes.errors import BadInput
from tasks.sources import files
from tasks.sources.files import Watched, find_files, locate


@pytest.mark.parametrize(
    ("pattern", "read"),
    [
        ("hf://datasets/org/name/data/*.parquet", "hf://datasets/org/name@2d0accd/data/*.parquet"),
        ("hf://org/model/file.bin", "hf://org/model@2d0accd/file.bin"),
        ("s3://bucket/key*", "s3://bucket/key*"),
    ],
)
def test_a_revision_is_read_from_the_hub_and_only_there(monkeypatch, pattern: str, read: str):
    asked = []

    class Listing(fsspec.AbstractFileSystem):
        def glob(self, path, **options):
            asked.append(path)
            return [path.partition("://")[2].replace("*", "0")]

    monkeypatch.setattr(files, "_filesystem", lambda protocol: Listing())
    (found,) = find_files(pattern, "test", "2d0accd")
    assert asked == [read] and found.path == found.address == read.replace("*", "0")


def test_a_branch_with_a_slash_is_one_part_of_the_address(monkeypatch):
    assert files._at_revision("hf://datasets/a/b/c", "refs/pr/1", "test") == "hf://datasets/a/b@refs%2Fpr%2F1/c"


def test_a_revision_given_twice_or_a_whole_repository_is_refused():
    with pytest.raises(BadInput, match="names a revision, and the field"):
        find_files("hf://datasets/org/name@main/x", "test", "2d0accd")
    with pytest.raises(BadInput, match="names no file"):
        find_files("hf://datasets/org/name", "test", "2d0accd")


@pytest.mark.parametrize("location", ["stdlib:json/decoder.py", "package:orjson/__init__.py", __file__])
def test_an_address_finds_its_file_again(location: str):
    (file,) = find_files(location, "test")
    assert locate(file.address, "test") == file


def test_a_watched_stream_remembers_what_its_storage_raised():
    class Lost(io.RawIOBase):
        def readinto(self, target):
            raise ConnectionError("lost")

    stream = Watched(Lost())
    stream.check()
    with pytest.raises(ConnectionError):
        stream.read(10)
    with pytest.raises(ConnectionError):
        stream.check()
