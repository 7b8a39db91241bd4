"""What a platform is made of: charts rendered by Helm's own library, manifests under Kubernetes' schemas, the command."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infra.platform import Chart, charts_of, missing_secrets, namespaces, secrets_of, values_of
from recipes.errors import BadInput
from tests.infra.platforms import COMMIT, INFRA, NAMES, ROOT, all_manifests, named, of_kind, platform


@pytest.fixture(scope="module", params=NAMES)
def manifests(request) -> list[dict]:
    return all_manifests(request.param)


def pods(manifests: list[dict]) -> list[tuple[str, dict]]:
    return [(one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in manifests if one["kind"] in ("Deployment", "StatefulSet")]


@pytest.mark.slow
def test_every_manifest_of_ours_is_valid_for_the_two_newest_versions_of_kubernetes(manifests):
    pytest.importorskip("kubernetes_validate")
    from infra.manifests import faults

    assert len(manifests) > 40
    assert faults(manifests) == []


def test_a_misspelt_field_of_a_manifest_is_found():
    pytest.importorskip("kubernetes_validate")
    from infra.manifests import faults

    good = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}
    bad = copy.deepcopy(good)
    bad["spec"]["selectors"] = {"a": "b"}
    assert faults([good]) == []
    assert len(faults([bad])) == 2, "one for each version"


def test_documents_of_a_chart_part_where_helm_parts_them(tmp_path):
    pytest.importorskip("helm_python")
    from infra.manifests import rendered

    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: two\nversion: 0.0.1\n")
    (tmp_path / "templates/two.yaml").write_text(
        "---# as cert-manager's chart writes it\nkind: A\n\n---# no YAML, says YAML\nkind: B\n---\n# nothing\n"
    )
    assert rendered(tmp_path, {}, "name", "space") == [{"kind": "A"}, {"kind": "B"}]


def test_helm_finds_nothing_wrong_with_our_charts():
    helm = pytest.importorskip("helm_python")
    for chart in sorted(INFRA.rglob("Chart.yaml")):
        found = helm.lint(chart.parent, values=platform("production").model_dump(mode="json"))
        assert found["errors"] == [], found


def test_no_manifest_has_an_empty_placeholder_or_a_secret(manifests):
    text = yaml.safe_dump_all(manifests)
    assert "<no value>" not in text and "${" not in text.replace("${datasource}", "")
    assert of_kind(manifests, "Secret") == [], "values of Secrets are put in place by people, never by a chart"


def test_every_container_of_ours_runs_without_root_on_a_read_only_disk_within_limits(manifests):
    assert len(pods(manifests)) >= 2
    for name, spec in pods(manifests):
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            held = container["securityContext"]
            assert held["readOnlyRootFilesystem"] and not held["allowPrivilegeEscalation"] and held["capabilities"] == {"drop": ["ALL"]}, (
                name
            )
            assert set(container["resources"]) == {"requests", "limits"}, name
            assert "readinessProbe" in container and "livenessProbe" in container, name
            assert not container["image"].endswith(":latest") and ":" in container["image"], name


def test_every_secret_that_a_pod_reads_is_listed(manifests):
    listed: dict[str, set[str]] = {}
    for entry in [entry for name in NAMES for entry in secrets_of(platform(name))]:
        listed.setdefault(entry["name"], set()).update(entry["keys"])
    for name, spec in pods(manifests):
        for container in spec["containers"]:
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in listed[reference["name"]], name
        for volume in [volume["secret"] for volume in spec["volumes"] if "secret" in volume]:
            assert {item["key"] for item in volume.get("items", [])} <= listed[volume["secretName"]], name
        for container in spec["containers"]:
            assert {entry["secretRef"]["name"] for entry in container.get("envFrom", [])} <= set(listed), name


def test_every_pool_is_a_queue_and_gpus_are_in_gpu_pools_alone(manifests):
    pools = {one["metadata"]["name"]: one["spec"]["resourceGroups"][0]["coveredResources"] for one in of_kind(manifests, "ClusterQueue")}
    assert set(pools) == {one["metadata"]["name"] for one in of_kind(manifests, "LocalQueue")}
    assert set(pools) == {one["metadata"]["name"] for one in of_kind(manifests, "ResourceFlavor")}
    assert all(("nvidia.com/gpu" in covered) == (name == "h100") for name, covered in pools.items())


THEIRS = [(name, chart) for name in NAMES for chart in charts_of(platform(name)) if chart.chart]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "chart"), THEIRS, ids=[f"{name}-{chart.name}" for name, chart in THEIRS])
def test_our_values_fit_the_charts_of_others(name: str, chart: Chart):
    pytest.importorskip("helm_python")
    from infra.manifests import rendered

    folder = Path(os.environ.get("REYNARD_CHARTS", "charts-not-named")) / chart.chart.rpartition("/")[2]
    if not folder.is_dir():
        pytest.skip("REYNARD_CHARTS names no folder with this chart (helm pull --untar)")
    own = platform(name)
    made = rendered(folder, values_of(chart, own, COMMIT), chart.name, chart.namespace)
    text = yaml.safe_dump_all(made)
    assert len(made) > 5 and "foobar" not in text
    levels = {
        one["metadata"]["name"]: one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for one in of_kind(namespaces(own), "Namespace")
    }
    for owner, spec in pods(made) if levels.get(chart.namespace) == "restricted" else []:
        for container in spec["containers"] + spec.get("initContainers", []):
            held = spec.get("securityContext", {}) | container["securityContext"]
            assert held["runAsNonRoot"] and held["seccompProfile"]["type"] == "RuntimeDefault", (
                f"{owner} would not start in {chart.namespace}"
            )
            assert held["allowPrivilegeEscalation"] is False and held["capabilities"]["drop"] == ["ALL"], owner
    for one in of_kind(made, "IngressClass"):
        assert one["metadata"]["name"] == own.ingress_class and "ingressclass.kubernetes.io/is-default-class" not in (
            one["metadata"].get("annotations") or {}
        )
    if chart.name == "flyte" and name == "production":
        with_role = {one["metadata"]["name"] for one in of_kind(made, "ServiceAccount") if one["metadata"].get("annotations")}
        assert with_role == {account for _, account in own.accounts_of("flyte")}
    if chart.name == "flyte":
        assert {account for _, account in own.accounts_of("flyte")} <= {one["metadata"]["name"] for one in of_kind(made, "ServiceAccount")}
    if chart.chart.endswith("flyte-core"):  # its role may write below flyte/ alone
        told = "\n".join(value for one in of_kind(made, "ConfigMap") for value in (one.get("data") or {}).values())
        prefixes = re.findall(r"(?:storage|rawoutput|metadata)-prefix: *(?:s3://[^/]+/)?(\S+)", told)
        assert len(prefixes) == 3 and all(prefix.startswith("flyte/") for prefix in prefixes), prefixes
        assert re.search(r"metadataStoragePrefix:\s*- flyte\s*- admin", told)
    for rule in [rule for one in of_kind(made, "ClusterRole") for rule in one.get("rules") or [] if chart.chart == "flyte-core"]:
        assert "secrets" not in rule["resources"] and "*" not in rule["resources"], "Flyte reads Secrets of its own namespace alone"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_dry_run_prints_every_chart_and_touches_nothing(name: str, tmp_path):
    pytest.importorskip("helm_python")
    command = [sys.executable, "-m", "infra.platform", f"infra/platforms/{name}.yaml", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=with_tools(tmp_path, "git"))
    assert done.returncode == 0, done.stderr
    assert "! helm is not installed" in done.stdout and "! kubectl is not installed" in done.stdout
    for chart in charts_of(platform(name)):
        assert f"helm upgrade --install {chart.name} " in done.stdout
    assert "nothing was touched" in done.stdout


def test_without_helm_and_kubectl_nothing_begins(tmp_path):
    command = [sys.executable, "-m", "infra.platform", "infra/platforms/development.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=with_tools(tmp_path, "git"))
    assert done.returncode == 1 and "helm is not installed" in done.stderr


def test_a_kubectl_that_is_refused_is_told_in_a_sentence(tmp_path, monkeypatch):
    write_tool(tmp_path, "kubectl", 'echo "secrets is forbidden: you cannot get it" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BadInput, match="Secret flyte/flyte-database: secrets is forbidden: you cannot get it"):
        missing_secrets(platform("production"))


def test_a_platform_is_installed_with_the_watchers_image_in_place_before_any_chart(tmp_path):
    """The tools only remember how they were called; the image is there already."""
    log = tmp_path / "calls"
    for tool in ("docker", "helm", "kind", "kubectl"):
        answer = '[ "$2" = secret ] && echo ca.pem password pass.txt' if tool == "kubectl" else ":"
        write_tool(tmp_path, tool, f'echo "{tool} $*" >> {log}; {answer}; exit 0')
    command = [sys.executable, "-m", "infra.platform", "infra/platforms/development.yaml"]
    environment = with_tools(tmp_path, "git", "sh")
    lacking = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert lacking.returncode == 1 and "Secrets are missing" in lacking.stderr and "mlflow/mlflow: database_uri" in lacking.stderr
    assert "helm" not in log.read_text()
    keys = " ".join(key for entry in secrets_of(platform("development")) for key in entry["keys"])
    write_tool(tmp_path, "kubectl", f'[ "$2" = secret ] && echo {keys}; exit 0')
    log.unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert [call.split()[0] for call in calls[:3]] == ["docker", "docker", "kind"]
    assert calls[2] == f"kind load docker-image localhost/reynard/cpu:{commit} --name reynard"
    assert [call.split()[3] for call in calls[3:]] == [chart.name for chart in charts_of(platform("development"))]


def test_the_watcher_runs_an_image_that_a_deployment_builds(manifests):
    watcher = named(manifests, "Deployment", "watcher")
    (container,) = watcher["spec"]["template"]["spec"]["containers"]
    assert container["image"] in [f"{platform(name).registry}/cpu:{COMMIT}" for name in NAMES]


def write_tool(folder: Path, name: str, script: str) -> None:
    """Write a tool that does what a script says."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def with_tools(folder: Path, *names: str) -> dict[str, str]:
    """Return an environment in which nothing is found but these tools, and what lies in a folder."""
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return {"PATH": str(folder)}


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("checkov"),
    reason="checkov is not installed: its pinned packages do not fit beside ours, so `make audit` gives it an environment of its own",
)
def test_checkov_finds_nothing_but_what_is_explained(manifests, tmp_path):
    (tmp_path / "manifests.yaml").write_text(yaml.safe_dump_all(manifests))
    files = [str(tmp_path / "manifests.yaml"), str(ROOT / "containers/Dockerfile")]
    skipped = [line.split()[0] for line in (INFRA / "checkov.skip").read_text().splitlines() if line and not line.startswith("#")]
    command = [
        "checkov",
        "--file",
        *files,
        "--framework",
        "kubernetes",
        "dockerfile",
        "--skip-download",
        "--output",
        "json",
    ]
    done = subprocess.run([*command, "--skip-check", ",".join(skipped)], capture_output=True, text=True)
    reports = {report["check_type"]: report["results"] for report in json.loads(done.stdout)}
    assert reports.keys() == {"kubernetes", "dockerfile"}, "both were read"
    assert [(one["check_id"], one["resource"], one["check_name"]) for report in reports.values() for one in report["failed_checks"]] == []
