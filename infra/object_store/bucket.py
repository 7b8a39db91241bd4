"""A platform's settings to its bucket on any S3 server: versions kept, temporary objects forgotten, one policy for each service account.

python -m infra.object_store.bucket PLATFORM.yaml --policies FOLDER    # writes FOLDER/IDENTITY.json, touches nothing else;
                                                                       # with --oidc-provider also who may take the role, IDENTITY.trust.json
python -m infra.object_store.bucket PLATFORM.yaml --apply              # makes the bucket, or brings it to what is said here
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from infra.settings import Platform, read_platform
from recipes.errors import BadInput

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HERE = Path(__file__).parent
STORE = "store"  # REYNARD_STORE is s3://BUCKET/store
EXCHANGE = "flyte"  # where Flyte leaves the inputs of a task, and the task's pod its outputs, errors and deck
READ, WRITE, DELETE = ["s3:GetObject"], ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], ["s3:DeleteObject"]
ROLE = "eks.amazonaws.com/role-arn"  # the annotation by which Amazon's webhook gives a pod its role
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


def apply_here(platform: Platform) -> list[str]:
    """Apply with the credentials of this machine; BadInput if there are none, or the object store does not take them or answer."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return apply(boto3.client("s3", endpoint_url=platform.s3_endpoint or None, region_name=platform.region), platform)
    except (BotoCoreError, ClientError) as error:
        raise BadInput(f"bucket {platform.bucket} at {platform.s3_endpoint or 'Amazon S3'}: {error}") from None


def trust(platform: Platform, identity: str, provider: str) -> JSON:
    """Return the document by which an identity's service accounts, and nobody else, may take its role on AWS.

    `provider` is the cluster's OIDC provider, such as oidc.eks.REGION.amazonaws.com/id/ID. BadInput if the platform names no roles.
    """
    role = re.match(r"arn:(aws[\w-]*):iam::(\d{12}):role/", platform.annotations_of(identity).get(ROLE, ""))
    if role is None:
        raise BadInput(f"service_account_annotations of platform {platform.name} names no role by {ROLE}: nobody could be trusted with one")
    provider = provider.removeprefix("https://")
    subjects = [f"system:serviceaccount:{namespace}:{account}" for namespace, account in platform.accounts_of(identity)]
    told = {f"{provider}:aud": "sts.amazonaws.com", f"{provider}:sub": subjects}
    return {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": told},
            "Principal": {"Federated": f"arn:{role[1]}:iam::{role[2]}:oidc-provider/{provider}"},
        }],
    }  # fmt: skip


def documents(platform: Platform, provider: str) -> dict[str, JSON]:
    """Return by file name the policy of each identity, and with a provider who may take its role."""
    found = {f"{identity}.json": policy(platform.bucket, rights, identity in stages()) for identity, rights in access().items()}
    return found | ({f"{identity}.trust.json": trust(platform, identity, provider) for identity in access()} if provider else {})


def write_documents(found: dict[str, JSON], folder: Path) -> None:
    """Write documents into a folder, and print the files' names; BadInput if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in found.items():
            (folder / name).write_text(json.dumps(document, indent=2) + "\n")
            print(folder / name)
    except OSError as error:
        raise BadInput(f"--policies {folder}: {error.strerror}: name a folder that can be written to") from None


def main() -> None:
    """Write policies, or bring the bucket to what is said here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platform", type=Path)
    parser.add_argument("--policies", type=Path, metavar="FOLDER", help="write one IAM policy for each service account")
    parser.add_argument("--apply", action="store_true", help="make the bucket, with its rules")
    parser.add_argument("--oidc-provider", default="", metavar="ISSUER", help="of the cluster: write who may take each role on AWS besides")
    asked = parser.parse_args()
    if not (asked.policies or asked.apply) or (asked.oidc_provider and not asked.policies):
        parser.error("say what is to be done: --policies FOLDER (with --oidc-provider ISSUER or without), --apply, or both")
    try:
        platform = read_platform(asked.platform)
        if asked.policies:
            write_documents(documents(platform, asked.oidc_provider), asked.policies)
        if asked.apply:
            print("\n".join(apply_here(platform)) or "nothing to do")
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
