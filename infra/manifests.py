"""A chart to its manifests, by Helm's own library, and manifests to what is wrong with them, by Kubernetes' schemas."""

import re
from pathlib import Path
from typing import Any

import yaml

JSON = dict[str, Any]
VERSIONS = ("1.36", "1.37")  # of Kubernetes: the two newest
SEPARATOR = re.compile(r"(?:^|\s*\n)---\s*")  # Helm's (pkg/releaseutil): text may follow at once, as in cert-manager's chart
OWN_GROUPS = (".k8s.io", "apps", "batch", "policy", "autoscaling")  # API groups that Kubernetes itself has schemas of


def rendered(chart: Path, values: JSON, name: str, namespace: str) -> list[JSON]:
    """Render a chart as `helm template` does; RuntimeError with Helm's words if it does not render."""
    from helm_python import Chart

    with Chart.load(chart) as loaded:
        texts = loaded.render(values=values, name=name, namespace=namespace)
    documents = [part for file, text in texts.items() if not file.endswith(".txt") for part in SEPARATOR.split(text)]
    return [manifest for manifest in map(yaml.safe_load, documents) if manifest]


def is_builtin(manifest: JSON) -> bool:
    """Tell whether Kubernetes itself knows this kind, rather than an operator."""
    group = manifest["apiVersion"].rpartition("/")[0]
    return not group or (group.endswith(OWN_GROUPS) and ".x-k8s.io" not in group)


def faults(manifests: list[JSON]) -> list[str]:
    """Return what Kubernetes' strict schemas say against manifests, a line each; kinds of operators are not looked at."""
    import kubernetes_validate

    found = []
    for manifest in manifests:
        for version in VERSIONS if is_builtin(manifest) else ():
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except Exception as error:  # one of several kinds: a value, an unknown field, an unknown kind
                found.append(
                    f"{manifest['kind']} {manifest['metadata']['name']} ({version}): {(str(error) or type(error).__name__).splitlines()[0]}"
                )
    return found
