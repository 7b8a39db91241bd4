"""A platform's file to checked settings: what our charts take as values, and what `${...}` in the values of others' charts becomes."""

import json
import re
from collections import Counter
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from recipes.errors import BadInput
from tasks.runtime.placement import BESIDE_HEAD, Placement, Pods, placements_of

PLACEHOLDER = re.compile(r"\$\{(\w*)\}")
FLYTE_PARTS = ("flyteadmin", "flytescheduler", "datacatalog", "flytepropeller")  # those of flyte-core that read or write the object store
Host = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
REGISTRY = r"^[a-z0-9][a-z0-9.:-]*(/[a-z0-9._-]+)+$"


def _addresses(text: str) -> str:
    IPv4Network(text)
    return text


def _with_port(address: str) -> str:
    urlsplit(address).port  # noqa: B018  ValueError if it is out of range
    return address


Cidr = Annotated[str, AfterValidator(_addresses)]


class Settings(BaseModel):
    """Read as written: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Pool(Settings):
    """Machines that Kueue hands out."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,30}$")]
    cpu: Annotated[int, Field(ge=1)]
    memory: Annotated[str, Field(pattern=r"^[1-9]\d*[GT]i$")]
    gpu: Annotated[int, Field(ge=0)] = 0
    spot: bool = False
    heads: Annotated[int, Field(ge=0)] = 0  # Ray clusters at once: their heads (8 cores, 32 GiB) and submitters run in pool `cpu`

    @property
    def room(self) -> Counter[str]:
        """What it holds, in the units of `room`."""
        return Counter({"GPUs": self.gpu, "cores": self.cpu, "GiB": int(self.memory[:-2]) * (1024 if self.memory.endswith("Ti") else 1)})


def room(pods: Pods, count: int = 1) -> Counter[str]:
    """Return what so many pods of one kind take."""
    return Counter({"GPUs": count * pods.gpus, "cores": count * pods.cpus, "GiB": count * pods.gigabytes})


class Priorities(Settings):
    """Kueue's classes: a job of higher value goes before, and takes the place of lower ones if it must."""

    training: int
    evaluation: int
    smoke: int


OWN = {  # what the platform brings itself: the addresses that network policies open by name
    "s3_endpoint": "http://object-store.services.svc.cluster.local:8333", "database_host": "postgres.services.svc.cluster.local",
    "mlflow_uri": "http://mlflow.mlflow.svc.cluster.local",
}  # fmt: skip
CIDRS = {"s3_endpoint": "object_store_cidrs", "database_host": "database_cidrs", "mlflow_uri": "ingress_cidrs"}


class Platform(Settings):
    """Everything that differs between platforms; platforms/production.yaml says what each value means."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,30}$")]
    host: Host
    contact: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    certificates: Literal["letsencrypt", "self-signed"]
    ingress_class: str
    load_balancer: bool
    load_balancer_annotations: dict[str, str]
    storage_class: Annotated[str, Field(min_length=1)]
    flyte: Literal["core", "binary"]
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]+-(development|staging|production)$")]
    pod_security: Literal["baseline", "privileged"]
    sign_in: str
    sign_in_client: str
    profile: str
    fabric: Literal["", "efa", "infiniband"]
    registry: Annotated[str, Field(pattern=REGISTRY)]
    mlflow_image: str
    mlflow_uri: Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+$")]
    database_host: Host
    database_sslmode: Literal["disable", "require", "verify-ca", "verify-full"]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{2,62}$")]
    region: str
    s3_endpoint: Annotated[str, Field(pattern=r"^(https?://[a-z0-9.-]+(:\d{1,5})?)?$"), AfterValidator(_with_port)]
    s3_authentication: Literal["iam", "accesskey"]
    service_account_annotations: dict[str, str]
    object_store_cidrs: list[Cidr]
    database_cidrs: list[Cidr]
    ingress_cidrs: list[Cidr]
    pools: Annotated[list[Pool], Field(min_length=1)]
    priorities: Priorities
    gang_minutes: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _safe(self) -> "Platform":
        if self.name == "development":
            if self.load_balancer or self.database_host != OWN["database_host"]:
                raise ValueError(
                    "name is development, whose safety is that nobody but its machine reaches it: say load_balancer: false, and its own services"
                )
            return self
        if not self.sign_in:
            raise ValueError("sign_in is empty, which only the platform `development` may leave so: without it anybody may run anything")
        if self.certificates == "self-signed":
            raise ValueError(
                "certificates are self-signed, which only the platform `development` may have: nobody could tell it from another"
            )
        if not self.mlflow_uri.startswith("https://"):
            raise ValueError(f"mlflow_uri is {self.mlflow_uri}: passwords would cross the network in the clear; say https://")
        if self.database_sslmode == "disable":
            raise ValueError("database_sslmode is `disable`: passwords would cross the network in the clear; say verify-full")
        return self

    @model_validator(mode="after")
    def _reachable(self) -> "Platform":
        for name, own in OWN.items():
            place, what = getattr(self, name), CIDRS[name]
            given = getattr(self, what)
            if place == own and given:
                raise ValueError(f"{what} is given, and {place} lies in the cluster, where the network is opened by name: leave it empty")
            if place != own and ".svc" in place:
                raise ValueError(
                    f"{name} is {place}: of services in the cluster the network is open to {own} alone; say that, or an address outside"
                )
            if place != own and not given:
                raise ValueError(
                    f"{what} is empty, and {place or 'Amazon S3'} lies outside of the cluster: name its addresses as pods see them, since every other is shut"
                )
        return self

    @model_validator(mode="after")
    def _enough(self) -> "Platform":
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise ValueError(f"two pools have the same name: {', '.join(names)}")
        if self.pools[0].name != "cpu":
            raise ValueError(
                f"the first pool is {self.pools[0].name}: it must be `cpu`, where single pods and the heads of Ray clusters run"
            )
        if self.profile == "local":
            raise ValueError("profile is local, which has no pods: take another of tasks/runtime/cluster.py")
        for profile in dict.fromkeys([self.profile, "smoke"]):  # the smoke run is on every platform
            for place in placements_of(profile).values():
                self._check_room(profile, place)
        if self.fabric and self.pod_security != "privileged":
            raise ValueError(
                f"fabric is {self.fabric}, which pins memory, and pod_security {self.pod_security} forbids that: say `privileged`"
            )
        if self.flyte == "core" and self.s3_authentication == "accesskey":
            raise ValueError("flyte is `core`, whose chart takes keys of the object store as plain values: say `binary`, or iam with roles")
        return self

    def _check_room(self, profile: str, place: Placement) -> None:
        """Refuse a pool that a stage runs in and that is not there, or could never hold what the stage takes at once."""
        pool = next((one for one in self.pools if one.name == place.queue), None)
        if pool is None:
            raise ValueError(f"pools has no {place.queue!r}, where {place.stage} runs under profile {profile}: it would wait forever")
        if place.workers is None:
            return
        if pool is not self.pools[0] and not pool.heads:
            raise ValueError(f"pool {pool.name} has no `heads`, so that no Ray cluster could ever start in it: say how many at once")
        asked = {"cpu": room(place.pod) + room(BESIDE_HEAD)}
        asked[place.queue] = asked.get(place.queue, Counter()) + room(place.workers, place.workers.least or 1)
        for held in self.pools:
            for what, amount in asked.get(held.name, Counter()).items():
                if amount > held.room[what]:
                    raise ValueError(
                        f"profile is {profile}, whose {place.stage} takes at least {amount} {what} of pool {held.name} at once, which holds "
                        f"{held.room[what]}: it would wait forever; enlarge the pool, or take a smaller profile (tasks/runtime/cluster.py)"
                    )

    @computed_field
    @property
    def object_store_port(self) -> int:
        """The port at which the object store answers."""
        told = urlsplit(self.s3_endpoint)
        return told.port or (80 if told.scheme == "http" else 443)

    @property
    def verifies_database(self) -> bool:
        """Whether the database must show a certificate that an authority we know has signed."""
        return self.database_sslmode.startswith("verify-")

    @property
    def project(self) -> str:
        """The project in Flyte."""
        return self.namespace.rpartition("-")[0]

    @property
    def domain(self) -> str:
        """The domain in Flyte."""
        return self.namespace.rpartition("-")[2]

    def placeholders(self) -> dict[str, str]:
        """Return what `${name}` may stand for in the values of others' charts: every setting that is text or a number, and a few made of them."""
        plain = {key: str(value) for key, value in self.model_dump().items() if isinstance(value, str | int)}
        return plain | {
            "project": self.project, "domain": self.domain,
            "endpoint_is_plain": str(self.s3_endpoint.startswith("http://")).lower(), "ingress_service": "LoadBalancer" if self.load_balancer else "ClusterIP",
            "host_ports": str(not self.load_balancer).lower(), "load_balancer_annotations": json.dumps(self.load_balancer_annotations),
            "database_options": f"sslmode={self.database_sslmode}{' sslrootcert=/etc/db/ca.pem' if self.verifies_database else ''}",
        }  # fmt: skip

    def accounts_of(self, identity: str) -> list[tuple[str, str]]:
        """Return the service accounts behind an identity, a stage's name or flyte, mlflow or watcher, as (namespace, account)."""
        own = {"mlflow": [("mlflow", "mlflow")], "watcher": [("monitoring", "watcher")]}
        own["flyte"] = [("flyte", account) for account in (FLYTE_PARTS if self.flyte == "core" else ("flyte-flyte-binary",))]
        return own.get(identity) or [(self.namespace, identity)]

    def annotations_of(self, identity: str) -> dict[str, str]:
        """Return the annotations of a service account, by which a cloud gives it a role."""
        return {key: value.replace("{identity}", identity) for key, value in self.service_account_annotations.items()}


def read_platform(path: Path) -> Platform:
    """Read a platform's file; BadInput if a value is missing, unknown or unsafe."""
    try:
        return Platform.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: infra/platforms holds examples to copy") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read as YAML: {' '.join(str(error).split())[:200]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its values"
        raise BadInput(f"{path}: {where}: {first['msg']}") from None


def filled(text: str, platform: Platform, where: str) -> Any:
    """Return a values file with its placeholders filled, as YAML; BadInput for one that no setting stands behind."""
    known = platform.placeholders()
    for name in PLACEHOLDER.findall(text):
        if name not in known:
            raise BadInput(f"{where}: ${{{name}}} is no setting of a platform: it may be one of {', '.join(sorted(known))}")
    return yaml.safe_load(PLACEHOLDER.sub(lambda found: known[found[1]], text)) or {}
