"""What a Hub keeps and answers, without HTTP: repositories with commits, branches and tags, LFS objects checked by their sums, faults.

`serve` in `server.py` puts it on loopback. A test reads `requests` and plans faults:

    with serve(Storage()) as hub:
        hub.faults.append(Fault("PUT", "/lfs/", cut_after=1000))
"""

import base64
import hashlib
import re
import threading
from dataclasses import dataclass, field

LFS_SUFFIXES = (".safetensors", ".model", ".zst", ".parquet", ".png")
SIGNED = "?X-Amz-Signature=0badc0de"
GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def git_sha1(data: bytes) -> str:
    """Return git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file of a commit: its own bytes, or what an LFS pointer says."""

    data: bytes
    sha256: str = ""  # of an LFS object
    size: int = 0

    @property
    def oid(self) -> str:
        return git_sha1(self.data)

    def info(self, path: str) -> dict:
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": len(self.data)}} if self.sha256 else {}
        return {"type": "file", "path": path, "oid": self.oid, "size": self.size} | lfs


def regular(data: bytes) -> Blob:
    return Blob(data, "", len(data))


def pointer(sha256: str, size: int) -> Blob:
    return Blob(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode(), sha256, size)


@dataclass(frozen=True)
class Commit:
    """A whole tree, with the commit that it follows."""

    parent: str
    title: str
    tree: dict[str, Blob]

    @property
    def oid(self) -> str:
        files = "".join(f"{path} {blob.oid}\n" for path, blob in sorted(self.tree.items()))
        return hashlib.sha1(f"{self.parent}\n{self.title}\n{files}".encode()).hexdigest()


class Repository:
    """Commits, and what names them."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, Commit] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by sha256, committed or not
        self.tags: dict[str, str] = {}
        self.branches = {"main": self.add(Commit("", "initial commit", {".gitattributes": regular(GIT_ATTRIBUTES)}))}

    def add(self, commit: Commit) -> str:
        self.commits[commit.oid] = commit
        return commit.oid

    def find(self, revision: str) -> str:
        found = self.branches.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else "")
        if not found:
            raise Refused(404, "Invalid rev id", "RevisionNotFound")
        return found

    def tree(self, revision: str) -> dict[str, Blob]:
        return self.commits[self.find(revision)].tree

    def history(self, revision: str) -> list[str]:
        oids, oid = [], self.find(revision)
        while oid:
            oids.append(oid)
            oid = self.commits[oid].parent
        return oids

    def files(self, revision: str) -> dict[str, bytes]:
        """Return what a revision holds, without the Hub's own file."""
        tree = {path: blob for path, blob in self.tree(revision).items() if path != ".gitattributes"}
        return {path: self.objects[blob.sha256] if blob.sha256 else blob.data for path, blob in tree.items()}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, words: str, code: str = "", **more: str) -> None:
        super().__init__(words)
        self.status, self.words, self.code, self.more = status, words, code, more


@dataclass
class Fault:
    """What goes wrong with the next request (of `times`) of a method whose path matches, from the `skip + 1`-th on."""

    method: str
    path: str
    status: int = 0  # answered in place of doing anything
    words: str = "out of order"
    cut_after: int | None = None  # the connection ends after so many bytes of the request's body
    unanswered: bool = False  # done, but the connection ends before the answer
    hold: threading.Event | None = None  # set when the request's first bytes are there; then the server waits for the client to go
    times: int = 1
    skip: int = 0


@dataclass
class Storage:
    """What a Hub keeps, for one account with one token."""

    token: str = "hf_right"
    account: str = "tester"
    organizations: tuple[str, ...] = ()
    role: str = "write"
    may_write: bool = True
    multipart_bytes: int = 4_000_000  # files beyond are sent in parts of this size
    repositories: dict[str, Repository] = field(default_factory=dict)  # `models/tester/name`
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and path of all that was begun
    finished: list[str] = field(default_factory=list)  # LFS objects that arrived whole, in order
    url: str = ""
    lock: threading.Condition = field(default_factory=threading.Condition)  # notified of every object that arrived

    def repository(self, kind: str, name: str) -> Repository:
        found = self.repositories.get(f"{kind}/{name}")
        if found is None:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return found

    def count(self, method: str, path: str) -> int:
        """Return how many requests of a method have had a path that matches."""
        return sum(asked == method and re.search(path, where) is not None for asked, where in self.requests)

    def commits(self) -> int:
        """Return how many commits all repositories have beyond their first."""
        return sum(len(one.commits) - 1 for one in self.repositories.values())

    def fault(self, method: str, path: str) -> Fault | None:
        for one in self.faults:
            if one.method == method and re.search(one.path, path) and one.times:
                if one.skip:
                    one.skip -= 1
                    return None
                one.times -= 1
                return one
        return None

    # --- what can be asked --------------------------------------------------------------------------------------------------

    def whoami(self) -> dict:
        orgs = [{"name": name} for name in self.organizations]
        return {"type": "user", "name": self.account, "orgs": orgs, "auth": {"accessToken": {"displayName": "t", "role": self.role}}}

    def create(self, body: dict) -> dict:
        owner = body.get("organization") or self.account
        if owner not in (self.account, *self.organizations) or not self.may_write:
            raise Refused(403, f"You don't have the rights to create a {body.get('type', 'model')} under the namespace {owner!r}")
        key = f"{body.get('type') or 'model'}s/{owner}/{body['name']}"
        if key in self.repositories:
            raise Refused(409, "You already created this repo", url=f"{self.url}/{key.removeprefix('models/')}")
        self.repositories[key] = Repository(body.get("visibility") == "private")
        return {"url": f"{self.url}/{key.removeprefix('models/')}", "name": key.partition("/")[2]}

    def info(self, kind: str, name: str, revision: str) -> dict:
        repository = self.repository(kind, name)
        siblings = [{"rfilename": path} for path in sorted(repository.tree(revision))]
        return {"id": name, "modelId": name, "sha": repository.find(revision), "private": repository.private, "siblings": siblings}

    def refs(self, kind: str, name: str) -> dict:
        one = self.repository(kind, name)
        heads = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": oid} for n, oid in one.branches.items()]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in one.tags.items()]
        return {"branches": heads, "tags": tags, "converts": []}

    def preupload(self, kind: str, name: str, revision: str, body: dict) -> dict:
        tree = self.repository(kind, name).tree(revision)

        def one(file: dict) -> dict:
            there, mode = tree.get(file["path"]), "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular"
            return {
                "path": file["path"], "uploadMode": mode, "shouldIgnore": False,
                "oid": (there.sha256 or there.oid) if there else None,
            }  # fmt: skip

        return {"files": [one(file) for file in body["files"]]}

    def batch(self, kind: str, name: str, body: dict) -> dict:
        there = self.repository(kind, name).objects
        assert body["operation"] == "upload" and body["hash_algo"] == "sha256" and "xet" not in body["transfers"]

        def one(thing: dict) -> dict:
            oid, size = thing["oid"], thing["size"]
            if oid in there:
                return {"oid": oid, "size": size}
            where = f"{self.url}/lfs/{kind}/{name}/{oid}"
            verify = {"href": f"{self.url}/{kind}/{name}/verify"}
            if size <= self.multipart_bytes:
                return {"oid": oid, "size": size, "actions": {"upload": {"href": f"{where}{SIGNED}"}, "verify": verify}}
            numbers = range(1, -(-size // self.multipart_bytes) + 1)
            header = {"chunk_size": str(self.multipart_bytes)} | {str(n): f"{where}/{n}{SIGNED}" for n in numbers}
            upload = {"href": f"{where}/complete", "header": header}
            return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

        return {"transfer": "basic", "objects": [one(thing) for thing in body["objects"]]}

    def store(self, kind: str, name: str, oid: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400, "the object has another sha256")
        self.repository(kind, name).objects[oid] = data
        with self.lock:
            self.finished.append(oid)
            self.lock.notify_all()

    def complete(self, kind: str, name: str, oid: str, body: dict) -> dict:
        parts = self.parts.pop(oid, {})
        assert body["oid"] == oid and [part["partNumber"] for part in body["parts"]] == sorted(parts), "parts are missing"
        assert all(part["etag"] == hashlib.md5(parts[part["partNumber"]]).hexdigest() for part in body["parts"])
        self.store(kind, name, oid, b"".join(parts[number] for number in sorted(parts)))
        return {}

    def verify(self, kind: str, name: str, body: dict) -> dict:
        data = self.repository(kind, name).objects.get(body["oid"])
        if data is None or len(data) != body["size"]:
            raise Refused(404, "the object is not there")
        return {}

    def commit(self, kind: str, name: str, revision: str, body: list[dict]) -> dict:
        repository = self.repository(kind, name)
        if revision not in repository.branches:
            raise Refused(404, "Invalid rev id", "RevisionNotFound")
        if not self.may_write:
            raise Refused(403, "You don't have write access to this repository")
        header, head = body[0]["value"], repository.branches[revision]
        if header.get("parentCommit", head) != head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(repository.commits[head].tree)
        for line in body[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = regular(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in repository.objects:
                    raise Refused(400, f"LFS pointer of {value['path']} points to a file that does not exist")
                tree[value["path"]] = pointer(value["oid"], len(repository.objects[value["oid"]]))
            else:
                assert line["key"] == "deletedFile", line["key"]
                del tree[value["path"]]
        oid = repository.add(Commit(head, header["summary"], tree))
        repository.branches[revision] = oid
        return {"commitOid": oid, "commitUrl": f"{self.url}/{name}/commit/{oid}", "success": True}

    def branch(self, kind: str, name: str, branch: str, body: dict) -> dict:
        repository = self.repository(kind, name)
        if branch in repository.branches:
            raise Refused(409, "This branch already exists")
        repository.branches[branch] = repository.find(body.get("startingPoint", "main"))
        return {}

    def tag(self, kind: str, name: str, revision: str, body: dict) -> dict:
        repository = self.repository(kind, name)
        if body["tag"] in repository.tags:
            raise Refused(409, "Tag reference exists already")
        repository.tags[body["tag"]] = repository.find(revision)
        return {}
