"""Released models to repositories of the Hub: the one Flyte task that reads the Hub's token."""

from flytekit import Secret

from tasks.artifacts.handles import ReleasedRef, RunRef
from tasks.runtime.flyte import control_task, show
from tasks.runtime.interface import Private, Told

# On a cluster the key HF_TOKEN of the Kubernetes secret `hf-token`; on one machine the variable itself is read. No other task asks for it.
TOKEN = Secret(group="hf-token", key="HF_TOKEN", env_var="HF_TOKEN", mount_requirement=Secret.MountType.ENV_VAR)


@control_task("tasks.publishing", secret_requests=[TOKEN])
def publish_models(run: RunRef, base: ReleasedRef, chat: ReleasedRef, private: Private) -> Told:
    """Publish both models, the checkpoints on the way to them and their data; what is there already is left as it is."""
    from functools import partial

    from tasks.panels.publication import publication
    from tasks.publishing.push import push

    made = push(run, base, chat, private, partial(print, flush=True))
    assert made.manifest is not None
    show("publication", publication(made.manifest))
    return f"{made.label}: {', '.join(sorted(made.manifest.recorded['commits']))}"
