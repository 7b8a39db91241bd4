"""What a platform is made of: charts rendered by Helm's own library, manifests under Kubernetes' schemas, rights against the code."""

import ast
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import yaml

from infra.object_store.bucket import access, lifecycle, policy
from infra.platform import Chart, charts_of, features, namespaces, secrets_of, values_of
from infra.settings import Platform, filled, read_platform
from recipes.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
NAMES = ["development", "production"]
STAGES = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/task.py"))


def platform(name: str) -> Platform:
    return read_platform(INFRA / f"platforms/{name}.yaml")


@cache
def all_manifests(name: str) -> list[dict]:
    """Return all manifests of ours for a platform."""
    pytest.importorskip("helm_python", reason="the extra `test` brings Helm's library")
    from infra.manifests import rendered

    own = platform(name)
    charts = [chart for chart in charts_of(own) if chart.folder]
    return namespaces(own) + [one for c in charts for one in rendered(INFRA / c.folder, values_of(c, own), c.name, c.namespace)]


@pytest.fixture(scope="module", params=NAMES)
def manifests(request) -> list[dict]:
    return all_manifests(request.param)


def of_kind(manifests: list[dict], kind: str) -> list[dict]:
    return [one for one in manifests if one["kind"] == kind]


def pods(manifests: list[dict]) -> list[tuple[str, dict]]:
    return [(one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in manifests if one["kind"] in ("Deployment", "StatefulSet")]


# --- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sign_in": ""}, "sign_in is empty"),
        ({"object_store_cidrs": []}, "object_store_cidrs is empty"),
        ({"mlflow_uri": "http://mlflow.example.com"}, "mlflow_uri is http://mlflow.example.com"),
        ({"database_sslmode": "disable"}, "database_sslmode is `disable`"),
        ({"s3_authentication": "accesskey"}, "flyte is `core`"),
        ({"bukket": "b"}, "bukket"),
        ({"namespace": "reynard"}, "namespace"),
    ],
)
def test_an_unsafe_or_misspelt_platform_is_refused_with_the_value(tmp_path, change, said):
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load((INFRA / "platforms/production.yaml").read_text()) | change))
    with pytest.raises(BadInput, match=re.escape(said)):
        read_platform(file)


def test_a_platform_that_is_no_readable_yaml_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "broken.yaml").write_text("host: [")
    for path in (tmp_path, tmp_path / "broken.yaml"):
        with pytest.raises(BadInput, match="cannot be read as YAML"):
            read_platform(path)


def test_a_placeholder_without_a_setting_is_refused():
    with pytest.raises(BadInput, match=r"values.yaml: \$\{bukket\} is no setting"):
        filled("a: ${bukket}", platform("production"), "values.yaml")


# --- our charts --------------------------------------------------------------------------------------------------------------


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
    listed = {entry["name"]: set(entry["keys"]) for name in NAMES for entry in secrets_of(platform(name))}
    for name, spec in pods(manifests):
        for container in spec["containers"]:
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in listed[reference["name"]], name
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
    made = rendered(folder, values_of(chart, own), chart.name, chart.namespace)
    text = yaml.safe_dump_all(made)
    assert len(made) > 5 and "foobar" not in text
    levels = {one["metadata"]["name"]: one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for one in namespaces(own)}
    for owner, spec in pods(made) if levels.get(chart.namespace) == "restricted" else []:
        for container in spec["containers"] + spec.get("initContainers", []):
            held = spec.get("securityContext", {}) | container["securityContext"]
            assert held["runAsNonRoot"] and held["seccompProfile"]["type"] == "RuntimeDefault", (
                f"{owner} would not start in {chart.namespace}"
            )
            assert held["allowPrivilegeEscalation"] is False and held["capabilities"]["drop"] == ["ALL"], owner
    if chart.chart.endswith("flyte-core"):  # its role may write below flyte/ alone
        told = "\n".join(value for one in of_kind(made, "ConfigMap") for value in (one.get("data") or {}).values())
        prefixes = re.findall(r"(?:storage|rawoutput|metadata)-prefix: *(?:s3://[^/]+/)?(\S+)", told)
        assert len(prefixes) == 3 and all(prefix.startswith("flyte/") for prefix in prefixes), prefixes
        assert re.search(r"metadataStoragePrefix:\s*- flyte\s*- admin", told)
    for rule in [rule for one in of_kind(made, "ClusterRole") for rule in one.get("rules") or [] if chart.chart == "flyte-core"]:
        assert "secrets" not in rule["resources"] and "*" not in rule["resources"], "Flyte reads Secrets of its own namespace alone"


# --- who may do what ---------------------------------------------------------------------------------------------------------


def kinds_made(stage: str) -> set[str]:
    """Return the kinds of artifacts that a stage's modules make: the second argument of Production(...), a text or a constant of the module."""
    made = set()
    for path in (ROOT / "tasks" / stage).glob("*.py"):
        tree = ast.parse(path.read_text())
        constants: dict[str, str] = {}
        for node in [one for one in tree.body if isinstance(one, ast.Assign)]:
            names = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else [node.targets[0]]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            pairs = zip(names, values, strict=False)
            constants |= {
                n.id: v.value for n, v in pairs if isinstance(n, ast.Name) and isinstance(v, ast.Constant) and isinstance(v.value, str)
            }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Production":
                kind = node.args[1]
                made.add(kind.value if isinstance(kind, ast.Constant) else constants[kind.id])
    return made


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_may_write_what_its_code_makes(stage: str):
    assert kinds_made(stage) <= set(access()[stage].get("write", [])), "say in infra/object_store/access.yaml what it makes"


def test_the_drill_may_write_where_it_works(tmp_path, monkeypatch):
    from recipes.load import load_recipe
    from tasks.drill.drill import Drill

    monkeypatch.setenv("REYNARD_STORE", "s3://b/store")
    assert Drill(load_recipe(ROOT / "recipes/tiny.yaml"), tmp_path).store.root == f"s3://b/{access()['drill']['bucket'][0]}"


def test_no_other_identity_than_the_listed_ones_has_rights_and_all_stages_have_an_account():
    accounts = set(yaml.safe_load((INFRA / "stages/values.yaml").read_text())["stages"])
    assert set(access()) == accounts | {"watcher", "flyte", "mlflow"}
    assert set(STAGES) <= accounts


def test_nobody_but_release_and_its_own_stage_makes_a_release_and_nobody_removes_a_sealed_artifact():
    rights = access()
    assert [name for name, own in rights.items() if "release" in own.get("write", [])] == ["release"]
    assert all(set(own.get("delete", [])) <= {"tracking", "working"} for own in rights.values())
    assert "bucket" not in rights["training"] and rights["watcher"] == {}


def test_a_policy_allows_a_stage_its_own_keys_alone():
    document = policy("b", access()["training"], is_stage=True)
    allowed = {statement["Sid"]: statement["Resource"] for statement in document["Statement"]}
    below = "arn:aws:s3:::b/store/"
    assert allowed["Read"] == [below + "*", "arn:aws:s3:::b/flyte/*"] and allowed["Exchange"] == ["arn:aws:s3:::b/flyte/*"]
    assert allowed["Write"] == [below + kind + "/*" for kind in ("checkpoint", "published", "tracking", "working")]
    assert allowed["Delete"] == [below + "tracking/*", below + "working/*"]
    assert "s3:*" not in json.dumps(document)
    assert "flyte" not in json.dumps(policy("b", access()["watcher"], is_stage=False))


def pod(account: str, container: dict, place: str = "containers", **others: object) -> dict:
    """Return a pod as the API server sees it before it is made."""
    spec = {
        "serviceAccountName": account,
        "containers": [{"name": "main"}],
        "volumes": [{"name": "v", **others.pop("volume", {"emptyDir": {}})}],
    }
    return {"metadata": {"name": "p", **others}, "spec": spec | {place: [{"name": "c", **container}]}}


TOKEN = {"env": [{"name": "A", "value": "b"}, {"name": "T", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "HF_TOKEN"}}}]}
OTHER = {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "stage-environment", "key": "A"}}}]}


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        (pod("training", OTHER, labels={"reynard.dev/stage": "training"}), ""),
        (pod("publishing", TOKEN, labels={"reynard.dev/stage": "publishing"}), ""),
        (pod("training", TOKEN), "may read the Secret hf-token"),
        (pod("training", TOKEN, place="initContainers"), "may read the Secret hf-token"),
        (pod("training", {"envFrom": [{"secretRef": {"name": "hf-token"}}]}), "may read the Secret hf-token"),
        (pod("training", {}, volume={"secret": {"secretName": "hf-token"}}), "may read the Secret hf-token"),
        (pod("training", {}, volume={"projected": {"sources": [{"secret": {"name": "hf-token"}}]}}), "may read the Secret hf-token"),
        (pod("training", {}, labels={"reynard.dev/stage": "publishing"}), "must be the name of the pod's service account"),
        (pod("publishing", TOKEN, labels={"ray.io/is-ray-node": "yes"}), "publishing runs in a pod of its own"),
    ],
)
def test_pods_that_may_not_be_are_refused_with_the_reason(made: dict, refused: str):
    celpy = pytest.importorskip("celpy", reason="the extra `test` brings a reader of the API server's rules")
    (rule,) = of_kind(all_manifests("production"), "ValidatingAdmissionPolicy")
    environment = celpy.Environment()
    known: dict = {"object": celpy.json_to_cel(made), "variables": celpy.celtypes.MapType()}

    def value(expression: str) -> object:
        return environment.program(environment.compile(expression)).evaluate(known)

    for variable in rule["spec"]["variables"]:
        known["variables"][celpy.celtypes.StringType(variable["name"])] = value(variable["expression"])
    said = [one["message"] for one in rule["spec"]["validations"] if not value(one["expression"])]
    assert len(said) == bool(refused) and all(refused in one for one in said)


def test_pods_that_may_not_be_are_denied_and_not_only_warned_of(manifests):
    (binding,) = of_kind(manifests, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["validationActions"] == ["Deny"]


def test_the_network_of_stages_is_shut_and_only_some_of_them_are_online(manifests):
    rules = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "NetworkPolicy")}
    assert rules["shut"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    online = rules["online"]["podSelector"]["matchExpressions"][0]["values"]
    assert "training" not in online and "publishing" in online
    assert "169.254.0.0/16" in rules["online"]["egress"][0]["to"][0]["ipBlock"]["except"]


def test_flytes_values_open_ray_jobs_and_hold_no_default_password():
    for name in NAMES:
        own = platform(name)
        flyte = next(chart for chart in charts_of(own) if chart.name == "flyte")
        text = yaml.safe_dump(values_of(flyte, own))
        assert "rayjobs" in text and "ray: ray" in text and "foobar" not in text.replace("`foobar`", "")
        assert "serviceType: ClusterIP" in text
    core = values_of(next(c for c in charts_of(platform("production")) if c.name == "flyte"), platform("production"))
    assert core["secrets"]["adminOauthClientCredentials"]["clientSecret"] is None
    assert core["configmap"]["adminServer"]["server"]["security"]["useAuth"] is True
    everywhere = [*core["flytepropeller"]["serviceAccount"]["rbacRules"], *core["webhook"]["serviceAccount"]["rbacRules"]]
    everywhere.append(core["flyteadmin"]["serviceAccount"]["rbacRules"])
    assert all("*" not in rule["resources"] + rule["verbs"] and "secrets" not in rule["resources"] for rule in everywhere)


# --- the bucket --------------------------------------------------------------------------------------------------------------


def test_nothing_that_is_sealed_is_forgotten():
    forgotten = [rule["Filter"]["Prefix"] for rule in lifecycle()["Rules"] if "Expiration" in rule]
    assert forgotten == ["store/working/", "flyte/"]


def test_the_profiles_of_a_platform_say_what_they_need():
    assert {"gpu", "core"} <= features(platform("production")) and "own-services" not in features(platform("production"))
    assert {"binary", "own-services", "keys"} <= features(platform("development"))


# --- the command -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_dry_run_prints_every_chart_and_touches_nothing(name: str, tmp_path):
    pytest.importorskip("helm_python")
    command = [sys.executable, "-m", "infra.platform", f"infra/platforms/{name}.yaml", "--dry-run"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )  # neither helm nor kubectl is found
    assert done.returncode == 0, done.stderr
    for chart in charts_of(platform(name)):
        assert f"helm upgrade --install {chart.name} " in done.stdout
    assert "nothing was touched" in done.stdout


def test_without_helm_and_kubectl_nothing_begins(tmp_path):
    command = [sys.executable, "-m", "infra.platform", "infra/platforms/development.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and "helm is not installed" in done.stderr


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


# --- real servers ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_buckets_rules_are_set_on_a_real_s3_server_and_a_second_time_changes_nothing(tmp_path, monkeypatch):
    import boto3

    from infra.local.services import start_s3, stop
    from infra.object_store.bucket import apply

    process, variables = start_s3(tmp_path / "s3")
    try:
        client = boto3.client(
            "s3", endpoint_url=variables["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"], aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        own = platform("development").model_copy(update={"bucket": "another"})
        assert len(apply(client, own)) == 3, "a bucket, its versions, its rules"
        held = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket="another")["Rules"]}
        assert held["checkpoints-of-unfinished-stages"]["Expiration"]["Days"] == 180
        assert apply(client, own) == []
    finally:
        stop(process)


def start_line(manifests: list[dict], folder: Path, port: int) -> str:
    """Return MLflow's start line as its pod has it, but for the database, the store, the port and the folders of this machine."""
    (deployment,) = [one for one in of_kind(manifests, "Deployment") if one["metadata"]["name"] == "mlflow"]
    line = deployment["spec"]["template"]["spec"]["containers"][0]["args"][0]
    for old, new in {
        "/tmp/basic_auth.ini": f"{folder}/made.ini", "/etc/mlflow/": f"{folder}/", "exec mlflow": f"exec {sys.executable} -m mlflow", "0.0.0.0": "127.0.0.1",
        "--port 5000": f"--port {port}", "--workers 4": "--workers 1", "--allowed-hosts ": "--allowed-hosts 127.0.0.1:*,",
    }.items():  # fmt: skip
        assert old in line
        line = line.replace(old, new)
    return re.sub(r"s3://\S+", str(folder / "artifacts"), line)


@pytest.mark.slow
def test_mlflows_start_line_serves_who_knows_the_password_and_nobody_else(tmp_path):
    pytest.importorskip("flask_wtf", reason="MLflow's basic-auth needs its extra `auth`, as its -full image has it")
    import httpx

    from infra.local.services import free_port, stop

    manifests = all_manifests("production")
    (config,) = [one for one in of_kind(manifests, "ConfigMap") if one["metadata"]["name"] == "mlflow-authentication"]
    (tmp_path / "basic_auth.ini").write_text(config["data"]["basic_auth.ini"])
    port = free_port()
    variables = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/mlflow.db", "AUTH_DATABASE_URI": f"sqlite:///{tmp_path}/auth.db",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_AUTH_ADMIN_PASSWORD": "known-to-the-test-alone", "MLFLOW_FLASK_SERVER_SECRET_KEY": "k",
        "MLFLOW_AUTH_CONFIG_PATH": f"{tmp_path}/made.ini",
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = ["sh", "-c", start_line(manifests, tmp_path, port)]
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=tmp_path)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 600  # a machine that is busy otherwise
        answered = False
        while not answered and time.monotonic() < deadline and process.poll() is None:
            try:
                answered = httpx.get(f"{address}/health").status_code == 200
            except httpx.HTTPError:
                time.sleep(0.5)
        assert answered, log.read_text()
        client = httpx.Client(timeout=60)
        asked = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
        assert client.get(asked).status_code == 401, log.read_text()[-2000:]
        assert client.get(asked, auth=("admin", "password1234")).status_code == 401
        assert client.get(asked, auth=("admin", "known-to-the-test-alone")).status_code == 200
        assert client.get(asked, auth=("admin", "known-to-the-test-alone"), headers={"Host": "elsewhere.example.com"}).status_code == 403
    finally:
        stop(process)
