"""A platform's file to a running platform: namespaces, a look for the Secrets, then every chart of charts.yaml in its order.

python -m infra.platform infra/platforms/development.yaml --dry-run   # renders and checks everything, prints what would run, touches nothing
python -m infra.platform infra/platforms/development.yaml             # installs, or brings to what is said here; a second time changes nothing
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra import images
from infra.commit import head
from infra.images import image_name
from infra.settings import FLYTE_PARTS, OWN, Platform, filled, read_platform
from recipes.errors import BadInput

HERE = Path(__file__).parent
TOOLS = ("helm", "kubectl")
TIMEOUT = "15m"
Values = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """One release of Helm's: a chart of others, pinned, or one of ours."""

    name: str
    namespace: str
    values: str = ""
    chart: str = ""
    repository: str = ""
    version: str = ""
    folder: str = ""
    only: str = ""

    @property
    def source(self) -> str:
        """What Helm is told to install."""
        return str((HERE / self.folder).relative_to(HERE.parent)) if self.folder else self.chart

    @property
    def pinned(self) -> list[str]:
        """Where Helm finds a chart of others, and its version."""
        return [*(["--repo", self.repository] if self.repository else []), "--version", self.version] if self.version else []

    def pull_command(self, folder: str) -> list[str]:
        """Return the call of Helm that unpacks a chart of others into a folder, to look at."""
        return ["helm", "pull", self.source, *self.pinned, "--untar", "--untardir", folder]

    def command(self, values: str) -> list[str]:
        """Return the call of Helm that installs or upgrades it, and waits until it works."""
        return ["helm", "upgrade", "--install", self.name, self.source, *self.pinned, "--namespace", self.namespace, "--create-namespace",
                "--values", values, "--wait", "--timeout", TIMEOUT]  # fmt: skip


def features(platform: Platform) -> set[str]:
    """Return what `only` may name for this platform."""
    own = {"own-services"} if platform.database_host == OWN["database_host"] else set()
    keys = {"keys"} if platform.s3_authentication == "accesskey" else set()
    verified = {"verified-database"} if platform.verifies_database else set()
    return {platform.flyte, ""} | own | keys | verified | ({"gpu"} if any(pool.gpu for pool in platform.pools) else set())


def charts_of(platform: Platform) -> list[Chart]:
    """Return the charts of a platform in the order of installation."""
    listed = [Chart(**entry) for entry in yaml.safe_load((HERE / "charts.yaml").read_text())]
    return [chart for chart in listed if chart.only in features(platform)]


def watcher_image(platform: Platform, commit: str) -> str:
    """Return the image that the watcher runs: the one that stages without GPUs run, of the commit that the platform is installed from."""
    return image_name(platform.registry, "cpu", commit)


def values_of(chart: Chart, platform: Platform, commit: str) -> Values:
    """Return a chart's values for a platform: ours take the platform's file and the watcher's image, those of others their values file, filled."""
    if chart.folder:
        return platform.model_dump(mode="json") | {"image": watcher_image(platform, commit)}
    values = filled((HERE / chart.values).read_text(), platform, chart.values)
    return with_plugins(values, chart.chart, platform) if chart.name == "flyte" else values


def with_plugins(values: Values, chart: str, platform: Platform) -> Values:
    """Put flyte/plugins.yaml where Flyte's two charts look for it, and the accounts' annotations."""
    told = filled((HERE / "flyte/plugins.yaml").read_text(), platform, "flyte/plugins.yaml")
    if platform.s3_endpoint:  # else Amazon's own
        told["plugins"]["k8s"]["default-env-vars"].append({"AWS_ENDPOINT_URL": platform.s3_endpoint})
    annotations = platform.annotations_of("flyte")
    if chart == "flyte-binary":
        values["enabled_plugins"] = {"tasks": told["tasks"]}
        values["configuration"]["inline"] |= told
        values["serviceAccount"] = {"annotations": annotations}
        return values
    configured = values["configmap"]
    configured["enabled_plugins"], configured["k8s"] = {"tasks": told["tasks"]}, {"plugins": told["plugins"]}
    configured["core"]["propeller"] |= told["propeller"]
    for part in FLYTE_PARTS:
        values[part].setdefault("serviceAccount", {})["annotations"] = annotations
    return values


def namespaces(platform: Platform) -> list[Values]:
    """Return the manifests that come before all charts: the namespaces, and what belongs to one from its beginning."""
    parts = (HERE / "stages/namespaces.yaml").read_text().split("\n---\n")
    return [filled(part, platform, "stages/namespaces.yaml") for part in parts]


def secrets_of(platform: Platform) -> list[Values]:
    """Return the Secrets that a platform reads."""
    listed = filled((HERE / "secrets/secrets.yaml").read_text(), platform, "secrets/secrets.yaml")
    return [entry for entry in listed if entry.get("only", "") in features(platform)]


def missing_secrets(platform: Platform) -> list[str]:
    """Return what the cluster lacks of the Secrets, a line each; their values are never read, only which keys there are."""
    lacking = []
    for entry in secrets_of(platform):
        asked = ["kubectl", "get", "secret", entry["name"], "--namespace", entry["namespace"], "--ignore-not-found", "--output",
                 "go-template={{range $key, $value := .data}}{{$key}} {{end}}"]  # fmt: skip
        answer = subprocess.run(asked, capture_output=True, text=True)
        if answer.returncode:
            raise BadInput(f"kubectl cannot tell whether there is a Secret {entry['namespace']}/{entry['name']}: {answer.stderr.strip()}")
        absent = [key for key in entry["keys"] if key not in answer.stdout.split()]
        if absent and not entry.get("optional"):
            lacking.append(f"{entry['namespace']}/{entry['name']}: {', '.join(absent)} ({entry['of']})")
    return lacking


def check_tool(tool: str) -> None:
    """BadInput if a tool is not there."""
    if shutil.which(tool) is None:
        raise BadInput(f"{tool} is not installed: the platform is put in place by helm 3.14 or newer and kubectl")


def pull(platform: Platform, folder: str) -> None:
    """Unpack the charts of others into a folder, to look at; BadInput if helm is not there, or fails."""
    check_tool("helm")
    for chart in charts_of(platform):
        if not chart.folder:
            images.run(chart.pull_command(folder))


def dry_run(platform: Platform, commit: str) -> None:
    """Print every step, and render and check our own charts; BadInput with what is wrong."""
    from infra.manifests import faults, rendered

    wrong, count = faults(namespaces(platform)), len(namespaces(platform))
    for tool in TOOLS:
        try:
            check_tool(tool)
        except BadInput as error:
            print(f"! {error}")
    print(f"kubectl apply --server-side --filename -    # {count} manifests: namespaces")
    for entry in secrets_of(platform):
        print(f"# needs the Secret {entry['namespace']}/{entry['name']} with {', '.join(entry['keys'])}: {entry['of']}")
    for chart in charts_of(platform):
        values = values_of(chart, platform, commit)
        print(shlex.join(chart.command(f"{chart.name}.values.yaml")))
        if chart.folder:
            manifests = rendered(HERE / chart.folder, values, chart.name, chart.namespace)
            count, wrong = count + len(manifests), wrong + [f"{chart.name}: {fault}" for fault in faults(manifests)]
    if wrong:
        raise BadInput(f"{len(wrong)} manifests are wrong: {'; '.join(wrong[:5])}")
    print(f"✓ {platform.name}: {len(charts_of(platform))} charts, {count} manifests of ours rendered and valid; nothing was touched")


def install(platform: Platform, commit: str) -> None:
    """Install the platform into the cluster that kubectl points at, or bring it to what its file says."""
    for tool in TOOLS:
        check_tool(tool)
    images.run(["kubectl", "apply", "--server-side", "--filename", "-"], yaml.safe_dump_all(namespaces(platform)))
    if lacking := missing_secrets(platform):
        raise BadInput("Secrets are missing, see docs/deployment.md: " + "; ".join(lacking))
    watchers = [watcher_image(platform, commit)]
    engine = images.find_engine(watchers)
    images.put_in_place(engine, watchers, images.absent(engine, watchers))
    with tempfile.TemporaryDirectory() as scratch:
        for chart in charts_of(platform):
            file = Path(scratch) / f"{chart.name}.values.yaml"
            file.write_text(yaml.safe_dump(values_of(chart, platform, commit)))
            images.run(chart.command(str(file)))
    print(f"✓ {platform.name}: {len(charts_of(platform))} charts are in place")


def main() -> None:
    """Read the platform's file, then check or install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platform", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--pull", metavar="FOLDER", help="unpack the charts of others into a new folder, for the tests (REYNARD_CHARTS)")
    asked = parser.parse_args()
    try:
        platform = read_platform(asked.platform)
        if asked.pull:
            pull(platform, asked.pull)
        elif asked.dry_run:
            images.show_steps([watcher_image(platform, head())])
            dry_run(platform, head())
        else:
            install(platform, head())
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
