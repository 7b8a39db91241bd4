"""Revisions that shall be on a Hub to what is there: looked at, uploaded as far as it is missing, committed at once, and tagged.

Publishing remembers nothing: every attempt looks at the Hub and does what is missing, so that it may be killed anywhere and run again.
In this order, for each revision:

1. large files are uploaded; the Hub keeps each that arrived whole, and nobody sees them;
2. one commit makes all files visible together;
3. the tag names that commit for good.

Killed in 1, readers see what they saw before. Killed between 2 and 3, they see the new files on `main`, and the next attempt adds the tag.
A checkpoint's branch is created only when its files are uploaded; until its commit it holds no file at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from recipes.errors import BadInput
from tasks.hub.client import Hub, Interrupted, additions
from tasks.hub.contents import Item, Revision
from tasks.panels.formats import compact

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

ATTEMPTS, WAIT_SECONDS, LONGEST_WAIT_SECONDS = 8, 2.0, 60.0
BATCH_FILES, BATCH_BYTES = 64, 2_000_000_000  # uploaded before the next line is said
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """Where a revision lies now."""

    address: str
    kind: str
    revision: str
    commit: str
    is_new: bool  # whether anything was changed to bring it there

    def url(self, endpoint: str) -> str:
        """Return its page."""
        return f"{endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.address}/tree/{self.revision}"


@dataclass(frozen=True)
class State:
    """How a Hub stands to a revision: compared with what its tag names, else with the head of its branch."""

    exists: bool  # the repository
    branch: str  # the commit of its branch; empty: there is none
    tagged: str  # the commit of its tag; empty: there is none
    is_published: bool  # it has its tag; or its branch, which gets none, holds files
    differing: list[str]  # files that are not as they shall be
    removed: list[str]  # files that shall not be there

    @property
    def matches(self) -> bool:
        """Whether all files are as they shall be."""
        return self.exists and not self.differing and not self.removed


@dataclass
class Publisher:
    """Brings revisions onto a Hub, as patiently as it is told; `say` gets a line on whatever happens."""

    hub: Hub
    private: bool  # what is created is
    say: Say
    attempts: int = ATTEMPTS  # in a row, without anything that got done
    wait_seconds: float = WAIT_SECONDS  # after the first; twice as long after each further one

    def publish(self, revisions: list[Revision], organization: str) -> list[Published]:
        """Bring all revisions there, after a look at each: BadInput, before anything is sent, if one is there with other content.

        Interrupted if the Hub fails too often; what was uploaded until then stays there.
        """
        account = self._patiently(lambda: self.hub.account(organization))
        wanted = [(f"{account}/{revision.repository}", revision) for revision in revisions]
        states = [self._patiently(lambda one=one: look(self.hub, *one)) for one in wanted]
        refuse([refusal(*one, state) for one, state in zip(wanted, states, strict=True)])
        done = []
        for one in wanted:
            done.append(self._patiently(lambda one=one: self._bring(*one)))
            how = "is there now" if done[-1].is_new else "was there already, nothing changed"
            self.say(f"✓ {done[-1].address}@{done[-1].revision} {how}: {done[-1].url(self.hub.endpoint)}")
        return done

    def _patiently(self, step: Callable[[], T]) -> T:
        self._failures = self._farthest = 0
        while True:
            try:
                return step()
            except Interrupted as error:
                failure = error
            self._failures += 1
            if self._failures >= self.attempts:
                raise Interrupted(f"{failure}: what was uploaded stays there, so run the same command again to continue")
            seconds = min(self.wait_seconds * 2 ** (self._failures - 1), LONGEST_WAIT_SECONDS)
            self.say(f"! {failure}: looking again in {seconds:.0f} s")
            time.sleep(seconds)

    def _bring(self, address: str, revision: Revision) -> Published:
        """Do what a revision lacks, and return where it is."""
        state = look(self.hub, address, revision)
        refuse([refusal(address, revision, state)])
        name = revision.tag or revision.branch
        if state.matches and state.is_published:
            return Published(address, revision.kind, name, state.tagged or state.branch, False)
        if not state.exists:
            self.hub.create(address, revision.kind, self.private)
            state = look(self.hub, address, revision)
        commit = state.branch
        if not state.matches:
            changed = set(state.differing)
            files = self._upload(address, revision, [item for item in revision.items if item.path in changed])
            parent = state.branch or self.hub.branch(address, revision.kind, revision.branch)
            commit = self.hub.commit(address, revision, files, state.removed, parent)
        if revision.tag:
            self.hub.tag(address, revision.kind, revision.tag, commit)
        return Published(address, revision.kind, name, commit, True)

    def _upload(self, address: str, revision: Revision, items: list[Item]) -> "list[CommitOperationAdd]":
        """Upload files batch by batch, say how far it is, and return them as they are committed."""
        total, uploaded = sum(item.bytes for item in items), []
        batch: list[Item] = []
        for number, item in enumerate(items, 1):
            batch.append(item)
            if number < len(items) and len(batch) < BATCH_FILES and sum(one.bytes for one in batch) < BATCH_BYTES:
                continue
            files = additions(batch)
            self.hub.upload(address, revision.kind, files)
            uploaded += files
            batch = []
            if number > self._farthest:  # else it was there before the last failure
                self._failures, self._farthest = 0, number
            sent = size(sum(one.bytes for one in items[:number]))
            self.say(f"  {address}@{revision.tag or revision.branch}: {number} of {len(items)} files, {sent} of {size(total)}")
        return uploaded


def look(hub: Hub, address: str, revision: Revision) -> State:
    """Compare what a repository holds with what a revision shall be."""
    refs = hub.refs(address, revision.kind)
    if refs is None:
        return State(False, "", "", False, [item.path for item in revision.items], [])
    branch, tagged = refs[0].get(revision.branch, ""), refs[1].get(revision.tag, "") if revision.tag else ""
    there = hub.files(address, revision.kind, tagged or branch) if tagged or branch else {}
    is_published = bool(tagged if revision.tag else there)
    if is_published:  # records may differ between equal releases, and there may be more or fewer: what they describe is listed in a file
        return State(
            True, branch, tagged, True, [item.path for item in revision.items if not item.is_record and not is_there(item, there)], []
        )
    differing = [item.path for item in revision.items if not is_there(item, there)]
    return State(True, branch, tagged, False, differing, sorted(there.keys() - {item.path for item in revision.items}))


def is_there(item: Item, there: dict[str, tuple[int, str, str]]) -> bool:
    """Tell whether a file is among those of a commit, by the sum that the Hub keeps of it."""
    length, sha256, sha1 = there.get(item.path, (-1, "", ""))
    return sha256 == item.sha256 if sha256 else length == item.bytes and sha1 == item.git_sha1()


def refusal(address: str, revision: Revision, state: State) -> str:
    """Return why a revision cannot be published, or nothing: what was published under a name never changes."""
    if state.matches or not state.is_published:
        return ""
    others = f" and {len(state.differing) - 3} more" if len(state.differing) > 3 else ""
    shown = ", ".join(state.differing[:3]) + others
    name = revision.tag or revision.branch
    way_out = (
        "raise release.version in the recipe" if revision.tag else "rename the model, remove that branch, or publish without checkpoints"
    )
    return f"{address}@{name} is published with other content ({shown}), and what is published never changes: {way_out}"


def refuse(reasons: list[str]) -> None:
    """Raise BadInput with all reasons that there are."""
    if found := [reason for reason in reasons if reason]:
        raise BadInput("; ".join(found))


def size(number: float) -> str:
    """Write a number of bytes with three significant digits."""
    return f"{compact(number)}B"


def listing(revisions: list[Revision], account: str, endpoint: str, private: bool) -> list[str]:
    """Return, in lines, everything that publishing would create and upload, as if nothing were there; asks nobody."""
    lines, seen = [], set()
    for one in revisions:
        address = f"{'datasets/' if one.kind == 'dataset' else ''}{account}/{one.repository}"
        if address not in seen:
            seen.add(address)
            lines.append(f"repository {endpoint}/{address} ({'private' if private else 'public'} {one.kind})")
        where = f"one commit to {one.branch}, tagged {one.tag}" if one.tag else f"branch {one.branch}, one commit"
        lines.append(f"  {where}: {len(one.items)} files, {size(one.bytes)} ({one.bytes:,} bytes)  {one.title!r}")
        lines += [f"    {item.bytes:>15,}  {item.sha256[:12]}  {item.path}" for item in one.items]
    total = sum(one.bytes for one in revisions)
    return [*lines, f"{len(revisions)} revisions in {len(seen)} repositories, {size(total)} ({total:,} bytes); nothing was sent"]
