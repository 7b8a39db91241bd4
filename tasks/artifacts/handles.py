"""What passes between tasks: small typed handles on artifacts, readable in the Flyte console.

A handle holds no data: it names the artifact, says where its manifest lies and carries the counts a person wants to see. Its
digest is Flyte's cache key, so that equal content is never worked on twice, wherever it lies.
"""

from typing import Annotated

from flytekit import HashMethod
from pydantic import BaseModel, ConfigDict


class Handle(BaseModel):
    """A reference to a finished artifact."""

    model_config = ConfigDict(frozen=True)
    name: str
    version: str
    uri: str
    digest: str

    @property
    def label(self) -> str:
        """Return `name@version`, short enough to read aloud."""
        return f"{self.name}@{self.version[:8]}"


class RawSources(Handle):
    """The raw files of a recipe, pinned by content before anything is read in earnest."""

    files: int
    bytes: int


class Documents(Handle):
    """Curated documents."""

    documents_in: int
    documents_kept: int
    characters_kept: int


class Tokens(Handle):
    """Token streams per source, with the tokenizer that made them."""

    tokens: int
    held_out_tokens: int
    vocabulary_size: int


class Checkpoint(Handle):
    """Weights and optimizer state at the end of a stage."""

    stage: str
    steps: int
    tokens: int
    parameters: int
    loss: float


class Scores(Handle):
    """Evaluation results of one checkpoint; `scores` maps suite/task to percent."""

    checkpoint: str
    scores: dict[str, float]
    bits_per_byte: float


class CleanScores(Handle):
    """Scores with and without the benchmark items that overlap with what was trained on."""

    items: int
    overlapping: int


class Released(Handle):
    """A published model."""

    repository: str
    folder: str


class Summary(Handle):
    """The end of a run."""

    report: str
    seconds: float


class Run(BaseModel):
    """Where a run keeps its things, carried through all of its tasks.

    It decides no content, so its place in a cache key is the store alone: handles point into it.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    folder: str
    store: str
    profile: str
    tracking_uri: str
    tracking_run: str
    started: float


def _by_digest(handle: Handle) -> str:
    return handle.digest


RunRef = Annotated[Run, HashMethod(lambda run: run.store)]
RawSourcesRef = Annotated[RawSources, HashMethod(_by_digest)]
DocumentsRef = Annotated[Documents, HashMethod(_by_digest)]
TokensRef = Annotated[Tokens, HashMethod(_by_digest)]
CheckpointRef = Annotated[Checkpoint, HashMethod(_by_digest)]
ScoresRef = Annotated[Scores, HashMethod(_by_digest)]
CleanScoresRef = Annotated[CleanScores, HashMethod(_by_digest)]
ReleasedRef = Annotated[Released, HashMethod(_by_digest)]
SummaryRef = Annotated[Summary, HashMethod(_by_digest)]
