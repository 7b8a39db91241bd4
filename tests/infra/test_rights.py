"""Who may do what: policies against the code that needs them, admission rules as the API server reads them, the network."""

import ast
import json

import pytest
import yaml

from infra.object_store.bucket import access, lifecycle, policy, trust
from infra.platform import charts_of, values_of
from recipes.errors import BadInput
from tests.infra.platforms import COMMIT, INFRA, NAMES, ROOT, all_manifests, named, of_kind, platform

STAGES = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/task.py"))


@pytest.fixture(scope="module", params=NAMES)
def manifests(request) -> list[dict]:
    return all_manifests(request.param)


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
    said = refusals("reynard-production-pods", object=made)
    assert len(said) == bool(refused) and all(refused in one for one in said)


def refusals(rule_name: str, **seen: dict) -> list[str]:
    """Return what an admission rule of the production platform says against a request, read as the API server reads it."""
    celpy = pytest.importorskip("celpy", reason="the extra `test` brings a reader of the API server's rules")
    rule = named(all_manifests("production"), "ValidatingAdmissionPolicy", rule_name)["spec"]
    environment = celpy.Environment()
    known: dict = {name: celpy.json_to_cel(value) for name, value in seen.items()} | {"variables": celpy.celtypes.MapType()}

    def value(expression: str) -> object:
        return environment.program(environment.compile(expression)).evaluate(known)

    if not all(value(condition["expression"]) for condition in rule.get("matchConditions", [])):
        return []
    for variable in rule["variables"]:
        known["variables"][celpy.celtypes.StringType(variable["name"])] = value(variable["expression"])
    return [one["message"] for one in rule["validations"] if not value(one["expression"])]


def ray_cluster() -> dict:
    """Return a Ray cluster as KubeRay makes it of a stage's job."""

    def group(name: str, account: str) -> dict:
        pod = {"spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}}
        return {"groupName": name, "replicas": 1, "minReplicas": 0, "maxReplicas": 4, "rayStartParams": {"num-cpus": "4"}, "template": pod}

    head = {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": {"serviceAccountName": "curation"}}}
    groups = [group("big", "curation"), group("small", "curation")]
    return {
        "metadata": {"labels": {"q": "cpu"}},
        "spec": {"headGroupSpec": head, "workerGroupSpecs": groups, "enableInTreeAutoscaling": True},
    }


def scaled(cluster: dict) -> None:
    cluster["spec"]["workerGroupSpecs"][1] |= {"replicas": 3, "scaleStrategy": {"workersToDelete": ["a"]}}


def under_another_account(cluster: dict) -> None:
    cluster["spec"]["workerGroupSpecs"][1]["template"]["spec"]["serviceAccountName"] = "release"


def with_more_at_most(cluster: dict) -> None:
    cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] = 400


def with_another_group(cluster: dict) -> None:
    cluster["spec"]["workerGroupSpecs"].append(cluster["spec"]["workerGroupSpecs"][0] | {"groupName": "mine"})


def with_another_head(cluster: dict) -> None:
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["serviceAccountName"] = "release"


def with_another_autoscaler(cluster: dict) -> None:
    cluster["spec"]["autoscalerOptions"] = {"image": "mine"}


def in_another_queue(cluster: dict) -> None:
    cluster["metadata"]["labels"]["q"] = "h100"


CHANGES = [under_another_account, with_more_at_most, with_another_group, with_another_head, with_another_autoscaler, in_another_queue]


@pytest.mark.parametrize("change", [scaled, *CHANGES])
def test_a_stage_may_change_the_size_of_a_ray_cluster_and_nothing_else_of_it(change):
    before, after = ray_cluster(), ray_cluster()
    change(after)
    stage, operator = (
        {"userInfo": {"username": f"system:serviceaccount:{who}"}}
        for who in ("reynard-production:curation", "kuberay-system:kuberay-operator")
    )
    said = refusals("reynard-production-rayclusters", object=after, oldObject=before, request=stage)
    assert bool(said) == (change is not scaled) and all("a stage may change the replicas" in one for one in said)
    assert refusals("reynard-production-rayclusters", object=after, oldObject=before, request=operator) == []


def test_what_may_not_be_is_denied_and_not_only_warned_of(manifests):
    bindings = of_kind(manifests, "ValidatingAdmissionPolicyBinding")
    assert {binding["spec"]["policyName"] for binding in bindings} == {
        one["metadata"]["name"] for one in of_kind(manifests, "ValidatingAdmissionPolicy")
    }
    assert all(binding["spec"]["validationActions"] == ["Deny"] for binding in bindings)


def test_every_namespace_of_ours_but_the_operators_says_who_may_come_in(manifests):
    shut = {one["metadata"]["namespace"] for one in of_kind(manifests, "NetworkPolicy") if one["spec"]["podSelector"] == {}}
    made = {one["metadata"]["name"] for one in of_kind(manifests, "Namespace")}
    assert made - shut == {"kuberay-system", "kueue-system"}


def test_mlflow_reaches_its_store_and_its_database_wherever_they_are():
    def reached(name: str) -> set[tuple[str, int]]:
        rules = named(all_manifests(name), "NetworkPolicy", "mlflow")["spec"]["egress"]
        return {
            (to.get("ipBlock", {}).get("cidr", "cluster"), port["port"]) for rule in rules for to in rule["to"] for port in rule["ports"]
        }

    assert {("10.20.0.0/24", 443), ("10.20.1.0/24", 5432)} <= reached("production")
    assert {("cluster", 5432), ("cluster", 8333)} <= reached("development")


def test_roles_are_given_to_the_accounts_that_charts_make_and_to_no_others():
    own, provider = platform("production"), "oidc.eks.eu-central-1.amazonaws.com/id/ABC"
    accounts = set()
    for identity in access():
        document = trust(own, identity, provider)
        (statement,) = document["Statement"]
        assert statement["Principal"] == {"Federated": f"arn:aws:iam::111122223333:oidc-provider/{provider}"}
        told = statement["Condition"]["StringEquals"]
        assert told[f"{provider}:aud"] == "sts.amazonaws.com"
        accounts |= {tuple(subject.split(":")[2:]) for subject in told[f"{provider}:sub"]}
    made = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in of_kind(all_manifests("production"), "ServiceAccount")} - {
        ("reynard-production", "default")
    }
    flyte = {("flyte", part) for part in ("flyteadmin", "flytescheduler", "datacatalog", "flytepropeller")}  # its own chart makes them
    assert accounts == made | flyte
    with pytest.raises(BadInput, match="names no role"):
        trust(platform("development"), "training", provider)


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
        text = yaml.safe_dump(values_of(flyte, own, COMMIT))
        assert "rayjobs" in text and "ray: ray" in text and "foobar" not in text.replace("`foobar`", "")
        assert "serviceType: ClusterIP" in text
    core = values_of(next(c for c in charts_of(platform("production")) if c.name == "flyte"), platform("production"), COMMIT)
    assert core["secrets"]["adminOauthClientCredentials"]["clientSecret"] is None
    assert core["configmap"]["adminServer"]["server"]["security"]["useAuth"] is True
    everywhere = [*core["flytepropeller"]["serviceAccount"]["rbacRules"], *core["webhook"]["serviceAccount"]["rbacRules"]]
    everywhere.append(core["flyteadmin"]["serviceAccount"]["rbacRules"])
    assert all("*" not in rule["resources"] + rule["verbs"] and "secrets" not in rule["resources"] for rule in everywhere)


def test_nothing_that_is_sealed_is_forgotten():
    forgotten = [rule["Filter"]["Prefix"] for rule in lifecycle()["Rules"] if "Expiration" in rule]
    assert forgotten == ["store/working/", "flyte/"]
