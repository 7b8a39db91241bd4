"""A platform's settings to its bucket on any S3 server: versions kept, temporary objects forgotten, one policy for each service account.

python -m infra.object_store.bucket infra/platforms/production.yaml --policies FOLDER   # writes FOLDER/<identity>.json, touches nothing else
python -m infra.object_store.bucket infra/platforms/production.yaml --apply             # makes the bucket, or brings it to what is said here
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from infra.settings import Platform, read_platform

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HERE = Path(__file__).parent
STORE = "store"  # REYNARD_STORE is s3://BUCKET/store
EXCHANGE = "flyte"  # where Flyte leaves the inputs of a task, and the task's pod its outputs, errors and deck
READ, WRITE, DELETE = ["s3:GetObject"], ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], ["s3:DeleteObject"]
JSON = dict[str, Any]


def access() -> dict[str, dict[str, list[str]]]:
    """Return what each identity (a stage, or flyte, mlflow, watcher) may do, by prefix."""
    return yaml.safe_load((HERE / "access.yaml").read_text())


def stages() -> list[str]:
    """Return the stages, each of which has a service account of its name."""
    return yaml.safe_load((HERE.parent / "stages/values.yaml").read_text())["stages"]


def policy(bucket: str, rights: dict[str, list[str]], is_stage: bool) -> JSON:
    """Return the IAM policy document that allows exactly these rights; MinIO and other servers read the same form.

    The pods of a stage exchange inputs and outputs with Flyte besides.
    """
    own, root = rights.get("bucket", []), f"arn:aws:s3:::{bucket}"
    seen = [*(own or [STORE]), *([EXCHANGE] if is_stage else [])]
    statements = [  # listing has no condition on prefixes: with one, S3 answers 403 and not 404 for an object that is not there
        {"Sid": "List", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [root]},
        _allowed("Read", READ, root, seen),
    ]
    statements += [_allowed("Exchange", WRITE, root, [EXCHANGE])] if is_stage else []
    if own:
        statements += [_allowed("Write", WRITE + DELETE, root, own)]
    if written := rights.get("write"):
        statements += [_allowed("Write", WRITE, root, [f"{STORE}/{prefix}" for prefix in written])]
    if deleted := rights.get("delete"):
        statements += [_allowed("Delete", DELETE, root, [f"{STORE}/{prefix}" for prefix in deleted])]
    return {"Version": "2012-10-17", "Statement": statements}


def _allowed(name: str, actions: list[str], root: str, prefixes: list[str]) -> JSON:
    resources = [pattern for prefix in prefixes for pattern in _below(root, prefix)]
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}


def _below(root: str, prefix: str) -> list[str]:
    single = f"{STORE}/started"  # an object, not a folder
    return [f"{root}/{prefix}"] if prefix == single else [f"{root}/{prefix}/*"]


def lifecycle() -> JSON:
    """Return the rules by which objects are forgotten, as S3's API takes them."""
    rules = []
    for entry in yaml.safe_load((HERE / "lifecycle.yaml").read_text()):
        rule: JSON = {"ID": entry["id"], "Status": "Enabled", "Filter": {"Prefix": entry["prefix"]}}
        if days := entry.get("days"):
            rule["Expiration"] = {"Days": days}
        if days := entry.get("noncurrent_days"):
            rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": days}
        if days := entry.get("abort_days"):
            rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
        rules.append(rule)
    return {"Rules": rules}


def apply(client: "S3Client", platform: Platform) -> list[str]:
    """Make the bucket if it is not there and set what differs; return what was done, nothing when called again."""
    from botocore.exceptions import ClientError

    bucket, done = platform.bucket, []
    if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
        place = {} if platform.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": platform.region}}
        client.create_bucket(Bucket=bucket, **place)
        done.append(f"bucket {bucket} made")
    if client.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        done.append("versions of objects are kept")
    try:
        held = client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        held = []
    if {rule["ID"] for rule in held} != {rule["ID"] for rule in lifecycle()["Rules"]} or held != lifecycle()["Rules"]:
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=lifecycle())
        done.append(f"{len(lifecycle()['Rules'])} rules say what is forgotten")
    if not platform.s3_endpoint:  # Amazon's own: other servers have nothing public to shut
        shut = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=shut)
    return done


def write_policies(platform: Platform, folder: Path) -> list[Path]:
    """Write one policy document for each identity into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for identity, rights in access().items():
        file = folder / f"{identity}.json"
        file.write_text(json.dumps(policy(platform.bucket, rights, identity in stages()), indent=2) + "\n")
        files.append(file)
    return files


def main() -> None:
    """Write policies, or bring the bucket to what is said here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platform", type=Path)
    parser.add_argument("--policies", type=Path, metavar="FOLDER", help="write one IAM policy for each service account")
    parser.add_argument("--apply", action="store_true", help="make the bucket, with its rules")
    asked = parser.parse_args()
    platform = read_platform(asked.platform)
    if asked.policies:
        print("\n".join(str(file) for file in write_policies(platform, asked.policies)))
    if asked.apply:
        import boto3

        client = boto3.client("s3", endpoint_url=platform.s3_endpoint or None, region_name=platform.region)
        print("\n".join(apply(client, platform)) or "nothing to do")


if __name__ == "__main__":
    main()
