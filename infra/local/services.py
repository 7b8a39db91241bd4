"""Real services on loopback: an S3 server (SeaweedFS) and an MLflow server, started into one folder and stopped again.

python -m infra.local.services start .services    # prints the variables to export
python -m infra.local.services stop .services
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BUCKET = "reynard"
START_SECONDS = 90.0

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # of MLflow's own: seven processes, half a minute of two cores at every start


def free_port() -> int:
    """Return a free port p on loopback for which p + 10000 is free too (SeaweedFS takes both); nothing connects from such low ones."""
    while True:
        port = secrets.choice(range(11_000, 21_000))
        with socket.socket() as low, socket.socket() as high:
            try:
                low.bind(("127.0.0.1", port))
                high.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port


def start_s3(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start SeaweedFS with a fresh key pair and an empty bucket; return the process and the variables that reach it."""
    import boto3

    folder.mkdir(parents=True, exist_ok=True)
    key, secret = secrets.token_hex(10), secrets.token_hex(20)
    port, master, volume, filer, admin = (free_port() for _ in range(5))
    identities = {
        "identities": [
            {
                "name": "reynard",
                "credentials": [{"accessKey": key, "secretKey": secret}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }
    config = folder / "s3.json"
    config.write_text(json.dumps(identities))
    config.chmod(0o600)
    weed = Path(sys.executable).with_name("weed")
    command = [
        str(weed), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false", "-admin.ui=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={port}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-admin.port={admin}", f"-s3.config={config}",
    ]  # fmt: skip
    (folder / "data").mkdir(exist_ok=True)
    process = _spawn(command, folder / "weed.log", {"GOMEMLIMIT": "400MiB"})
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.list_objects_v2(Bucket=BUCKET)
            break
        except Exception as error:
            if time.monotonic() > deadline or process.poll() is not None:
                stop(process)
                raise RuntimeError(f"the S3 server did not start, see {folder / 'weed.log'}: {error}") from None
            time.sleep(0.3)
    return process, {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": "us-east-1",
        "REYNARD_STORE": f"s3://{BUCKET}/store",
    }  # fmt: skip


def start_mlflow(folder: Path, variables: dict[str, str] | None = None, port: int = 0) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start an MLflow server with a SQLite store and its artifacts in a folder; return the process and the variable that reaches it.

    The folder may have been used before; without a port a free one is taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    process = _spawn(command, folder / "mlflow.log", NO_JOBS | (variables or {}))
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                if answer.status == 200:
                    return process, {"MLFLOW_TRACKING_URI": address}
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline or process.poll() is not None:
            stop(process)
            raise RuntimeError(f"the MLflow server did not start, see {folder / 'mlflow.log'}")
        time.sleep(0.3)


_started: dict[int, tuple[list[str], Path, dict[str, str]]] = {}  # by process id


def _spawn(command: list[str], log: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=os.environ | variables, start_new_session=True
        )
    _started[process.pid] = (command, log, variables)
    return process


def restart(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Start a service that has died again, at the same address and with its data; it answers some seconds later."""
    return _spawn(*_started[process.pid])


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a service and everything it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=15)
    except ProcessLookupError:
        return
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def main(action: str, folder: str) -> None:
    """Start the services and print what to export, or stop those that were started into a folder."""
    where = Path(folder).absolute()
    pids = where / "pids.json"
    if action == "start":
        if pids.exists():
            raise SystemExit(f"services were started into {where} already: `make stop-services` stops them")
        s3, s3_variables = start_s3(where / "s3")
        mlflow, mlflow_variables = start_mlflow(where / "mlflow")
        pids.write_text(json.dumps([s3.pid, mlflow.pid]))
        exports = "".join(f"export {name}={value}\n" for name, value in (s3_variables | mlflow_variables).items())
        (where / "env").write_text(exports)
        (where / "env").chmod(0o600)
        print(
            f"S3 at {s3_variables['AWS_ENDPOINT_URL']}, MLflow at {mlflow_variables['MLFLOW_TRACKING_URI']}\nTo use them:  source {where / 'env'}"
        )
    else:
        for pid in json.loads(pids.read_text()) if pids.exists() else []:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        pids.unlink(missing_ok=True)
        print("services stopped")


if __name__ == "__main__":
    main(*sys.argv[1:])
