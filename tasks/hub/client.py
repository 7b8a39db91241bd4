"""A token and an endpoint to an account on a Hub: `huggingface_hub`'s own client, its errors in one sentence that holds no secret.

The client is asked for single steps; which of them are needed is decided in `publish.py`. It goes on its own through what its library
tries again (parts of an upload); everything else that may pass is raised as `Interrupted`.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from recipes.errors import BadInput
from tasks.hub.contents import Item, Revision

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

T = TypeVar("T")
DEFAULT_ENDPOINT = "https://huggingface.co"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAY_PASS = (408, 409, 412, 425, 429, 500, 502, 503, 504)  # 409: another operation goes on; 412: somebody committed meanwhile
OWN_FILES = (".gitattributes",)  # the Hub's own, which every repository begins with
UPLOAD_THREADS = 5


class Interrupted(OSError):
    """A Hub that did not answer, or not now: asking again helps."""


def endpoint() -> str:
    """Return the Hub's address from HF_ENDPOINT; BadInput for one that would show a secret to others."""
    address = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    parts = urlsplit(address)
    if "@" in parts.netloc or parts.query:
        raise BadInput("HF_ENDPOINT carries a user, a password or a query, which would end up in logs: set the plain address, and HF_TOKEN")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise BadInput(f"HF_ENDPOINT is {address!r}: the token would cross the network readable to all, so use an address with https://")
    return address


def token() -> SecretStr:
    """Return the token from HF_TOKEN, or of `hf auth login`; BadInput if there is none."""
    from huggingface_hub import get_token

    found = get_token()
    if not found:
        raise BadInput("publishing needs a token with write access: put it into HF_TOKEN (or run `hf auth login`), or use --dry-run")
    return SecretStr(found)


class Hub:
    """An account on a Hub. Addresses of repositories are `account/name`."""

    def __init__(self, endpoint: str, secret: SecretStr) -> None:
        import httpx
        from huggingface_hub import HfApi, constants, set_client_factory
        from huggingface_hub.utils._http import default_client_factory

        def client() -> httpx.Client:
            made = default_client_factory()
            made.timeout = httpx.Timeout(300.0, connect=20.0)  # the library waits for ever
            return made

        # Over LFS the Hub says of each file whether it has it: a killed upload continues at the file it was at. HF_HUB_DISABLE_XET=0 asks
        # for Xet instead, which splits files into chunks and keeps logs of its own.
        constants.HF_HUB_DISABLE_XET = os.environ.get("HF_HUB_DISABLE_XET", "1") != "0"
        set_client_factory(client)
        self.endpoint = endpoint
        self._secret = secret
        self._api = HfApi(endpoint=endpoint, token=secret.get_secret_value(), library_name="reynard")

    def account(self, organization: str) -> str:
        """Return the account that is published under; BadInput if the token is refused, only reads, or does not belong to the organization."""
        told = self._ask("look up who the token belongs to", self._api.whoami)
        if told.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise BadInput(f"the token of {told['name']} can only read: make one with write access at {self.endpoint}/settings/tokens")
        known = [told["name"], *(one["name"] for one in told.get("orgs", []))]
        if organization and organization not in known:
            raise BadInput(f"the token of {told['name']} cannot publish under {organization!r}: choose one of {', '.join(known)}")
        return organization or told["name"]

    def refs(self, address: str, kind: str) -> tuple[dict[str, str], dict[str, str]] | None:
        """Return the commits of a repository's branches and tags, or None if there is no such repository."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            found = self._ask(f"look at {address}", lambda: self._api.list_repo_refs(address, repo_type=kind), RepositoryNotFoundError)
        except RepositoryNotFoundError:
            return None
        return {ref.name: ref.target_commit for ref in found.branches}, {ref.name: ref.target_commit for ref in found.tags}

    def files(self, address: str, kind: str, commit: str) -> dict[str, tuple[int, str, str]]:
        """Return size, sha256 (empty for what is no LFS object) and git's sha1 of a commit's files, without those of the Hub itself."""
        listed = self._ask(
            f"list {address}", lambda: list(self._api.list_repo_tree(address, recursive=True, revision=commit, repo_type=kind))
        )
        files = [one for one in listed if hasattr(one, "blob_id") and one.path not in OWN_FILES]
        return {one.path: (one.size, one.lfs.sha256 if one.lfs else "", one.blob_id) for one in files}

    def create(self, address: str, kind: str, private: bool) -> None:
        """Create a repository, unless it is there."""
        self._ask(f"create {address}", lambda: self._api.create_repo(address, private=private, repo_type=kind, exist_ok=True))

    def upload(self, address: str, kind: str, files: "list[CommitOperationAdd]") -> None:
        """Upload the large ones among some files, as far as the Hub does not have them; nobody sees them until they are committed."""
        names = ", ".join(file.path_in_repo for file in files[:3]) + (" ..." if len(files) > 3 else "")
        upload = partial(self._api.preupload_lfs_files, address, files, repo_type=kind, num_threads=UPLOAD_THREADS)
        self._ask(f"upload {names} to {address}", upload)

    def branch(self, address: str, kind: str, name: str) -> str:
        """Create a branch without files, and return the commit it begins with: the repository's first."""

        def call() -> str:
            first = self._api.list_repo_commits(address, repo_type=kind)[-1].commit_id
            self._api.create_branch(address, branch=name, revision=first, repo_type=kind)
            return first

        return self._ask(f"create the branch {name} of {address}", call)

    def commit(self, address: str, revision: Revision, files: "list[CommitOperationAdd]", removed: list[str], parent: str) -> str:
        """Commit uploaded files and removals to a branch, all at once and only on top of `parent`; return the commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        # The client lets go of the bytes of what it uploaded. Of the small files it knows how they lie on main: here it shall look anew.
        anew = [CommitOperationAdd(file.path_in_repo, file.path_or_fileobj) if file.path_or_fileobj else file for file in files]
        operations = [*anew, *(CommitOperationDelete(path) for path in removed)]
        commit = partial(self._api.create_commit, address, operations, commit_message=revision.title, parent_commit=parent)
        made = self._ask(f"commit to {address}", lambda: commit(revision=revision.branch, repo_type=revision.kind).oid)
        assert made != parent, f"{address}: a commit with {len(operations)} changes came out as its parent {parent}"
        return made

    def tag(self, address: str, kind: str, name: str, commit: str) -> None:
        """Give a commit its name for good."""
        self._ask(f"tag {address}", lambda: self._api.create_tag(address, tag=name, revision=commit, repo_type=kind))

    def _ask(self, doing: str, call: Callable[[], T], *through: type[Exception]) -> T:
        """Call the client; its errors become BadInput or Interrupted, but for those that are let `through`.

        They are raised outside of the handler, so that no traceback leads to the client's frames, whose variables hold the token.
        """
        with quiet():
            try:
                return call()
            except through:
                raise
            except Exception as error:
                failure = self._judge(error, doing)
        raise failure

    def _judge(self, error: Exception, doing: str) -> Exception:
        """Return what is raised in place of a client's error."""
        import httpx
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        said = self._told(error)
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, httpx.HTTPError | HfHubHTTPError):
            return Interrupted(f"{self.endpoint} did not let us {doing} ({self._told(error.__cause__)})")  # a part of an upload
        if isinstance(error, OfflineModeIsEnabled):
            return BadInput("HF_HUB_OFFLINE is set, and publishing needs the Hub: unset it, or use --dry-run")
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            if status == 401:
                return BadInput(
                    f"{self.endpoint} refuses the token: it is wrong, expired or revoked; make one with write access at "
                    f"{self.endpoint}/settings/tokens and put it into HF_TOKEN"
                )
            if status == 403:
                return BadInput(f"the token may not {doing}: give one with write access to it, or another --organization ({said})")
            if status in MAY_PASS:
                return Interrupted(f"{self.endpoint} did not let us {doing} (status {status}: {said})")
            return BadInput(f"{self.endpoint} did not let us {doing} (status {status}): {said}")
        if isinstance(error, httpx.HTTPError):
            return Interrupted(f"{self.endpoint} did not let us {doing} ({type(error).__name__}: {said})")
        if isinstance(error, ValueError):
            return BadInput(f"{self.endpoint} did not let us {doing}: {said}")
        return RuntimeError(f"could not {doing}: {type(error).__name__}: {said}")

    def _told(self, error: BaseException) -> str:
        """Return an error's words in one line, without the token, and without what signs an address for upload."""
        words = " ".join(str(error).split()).replace(self._secret.get_secret_value(), "[token]")
        return re.sub(r"\?[^\s'\"]+", "?[signed]", words)[:300] or type(error).__name__


def additions(items: list[Item]) -> "list[CommitOperationAdd]":
    """Return the client's own form of files that are to be there. It is used up by one commit."""
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path_in_repo=item.path, path_or_fileobj=item.fetch()) for item in items]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the client from logging addresses that are signed for an upload, and from drawing bars across our own lines."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    names, drew = ("huggingface_hub", "httpx", "httpcore"), not are_progress_bars_disabled()
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
        if drew:
            enable_progress_bars()
