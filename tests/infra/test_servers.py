"""What charts say of servers, against the real ones: the bucket's rules on an S3 server, MLflow's start line."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.infra.platforms import all_manifests, named, platform


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
    deployment = named(manifests, "Deployment", "mlflow")
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
    config = named(manifests, "ConfigMap", "mlflow-authentication")
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
        stages = {"username": "stages", "password": "another-that-only-the-test-knows"}  # as docs/deployment.md makes the stages' user
        assert client.post(f"{address}/api/2.0/mlflow/users/create", json=stages, auth=tuple(stages.values())).status_code == 401
        made = client.post(f"{address}/api/2.0/mlflow/users/create", json=stages, auth=("admin", "known-to-the-test-alone"))
        assert made.status_code == 200 and made.json()["user"]["is_admin"] is False
        for what in ("experiments", "registered-models"):
            begun = client.post(f"{address}/api/2.0/mlflow/{what}/create", json={"name": "tiny"}, auth=tuple(stages.values()))
            assert begun.status_code == 200, begun.text
        raised = {"username": "stages", "is_admin": True}
        assert client.patch(f"{address}/api/2.0/mlflow/users/update-admin", json=raised, auth=tuple(stages.values())).status_code == 403
    finally:
        stop(process)
