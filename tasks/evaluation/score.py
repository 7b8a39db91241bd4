"""A checkpoint artifact to a scores artifact, whoever asks for it."""

from recipes.schema import Evaluation
from tasks.artifacts.handles import Checkpoint, Run, Tokens
from tasks.evaluation.cards import read_model
from tasks.evaluation.evaluate import evaluate_checkpoint
from tasks.evaluation.inputs import held_out_documents
from tasks.evaluation.suites import scores_identity
from tasks.model.export import export
from tasks.runtime.production import Production, Reader


def score_checkpoint(run: Run, section: Evaluation, which: str, tokens: Tokens, checkpoint: Checkpoint, name: str) -> Production:
    """Return the scores of a checkpoint, found or made; `which` says whether it counts as a `base` or a `chat` model."""
    parents = {"checkpoint": checkpoint, "tokens": tokens}
    with Production(run, "scores", name, scores_identity(section, which), parents, "tasks.evaluation") as made:
        if made.needed:
            source = Reader.of(run, checkpoint).place("", made.scratch / "checkpoint")
            export(source, made.scratch / "model", chat_template=None)
            held_out = held_out_documents(Reader.of(run, tokens))
            model = read_model(made.scratch / "model", checkpoint)
            result = evaluate_checkpoint(run, section, which, model, held_out, tokens.digest, made.scratch)
            made.seal(result["counts"], result["details"])
    return made
