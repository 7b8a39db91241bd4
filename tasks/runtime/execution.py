"""The Flyte execution that this process works for, to an id and a link, read from what Flyte tells every pod.

Threads and Ray's driver see it as well, unlike the context of the task. `REYNARD_FLYTE_CONSOLE` is the address of Flyte's console as a browser
reaches it, such as https://flyte.example.org/console: the one that pods know is the cluster's own.
"""

import os

NAMES = ("PROJECT", "DOMAIN", "ID")
CONSOLE = "REYNARD_FLYTE_CONSOLE"


def flyte_execution() -> str:
    """Return `project/domain/name` of the execution, or `local` on one machine."""
    parts = [os.environ.get(f"FLYTE_INTERNAL_EXECUTION_{name}", "") for name in NAMES]
    return "/".join(parts) if all(parts) else "local"


def console_link() -> str:
    """Return the address of the execution's page in Flyte's console; empty where there is none or it is not known."""
    console, execution = os.environ.get(CONSOLE, "").rstrip("/"), flyte_execution()
    if not console or execution == "local":
        return ""
    project, domain, name = execution.split("/")
    return f"{console}/projects/{project}/domains/{domain}/executions/{name}"


def execution_tags() -> dict[str, str]:
    """Return the tags by which an MLflow run names its Flyte execution and leads to it."""
    link = console_link()
    return {"flyte.execution": flyte_execution()} | ({"flyte.console": link} if link else {})


def described(links: dict[str, str]) -> dict[str, str]:
    """Return the tag in which MLflow shows a description, with named links; addresses that no browser opens are shown as they are."""
    shown = [f"[{name}]({at})" if at.startswith(("http://", "https://")) else f"{name} `{at}`" for name, at in links.items() if at]
    return {"mlflow.note.content": " · ".join(shown)} if shown else {}
