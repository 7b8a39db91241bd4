"""A platform's file to checked settings: what is unsafe, contradicts itself or would wait forever is refused with the value."""

import re

import pytest
import yaml

from infra.platform import features
from infra.settings import filled, read_platform
from recipes.errors import BadInput
from tests.infra.platforms import INFRA, platform

CPU = {"name": "cpu", "cpu": 64, "memory": "256Gi"}
SPOT = {"name": "cpu-spot", "cpu": 64, "memory": "256Gi", "heads": 1}
H100 = {"name": "h100", "cpu": 768, "memory": "8Ti", "gpu": 64, "heads": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sign_in": ""}, "sign_in is empty"),
        ({"certificates": "self-signed"}, "certificates are self-signed"),
        ({"object_store_cidrs": []}, "object_store_cidrs is empty, and Amazon S3 lies outside"),
        ({"database_cidrs": []}, "database_cidrs is empty, and reynard.cluster-example"),
        ({"ingress_cidrs": []}, "ingress_cidrs is empty, and https://mlflow.reynard.example.com lies outside"),
        ({"database_host": "postgres.services.svc.cluster.local"}, "database_cidrs is given, and postgres.services"),
        ({"mlflow_uri": "http://mlflow.example.com"}, "mlflow_uri is http://mlflow.example.com"),
        ({"database_sslmode": "disable"}, "database_sslmode is `disable`"),
        ({"s3_authentication": "accesskey"}, "flyte is `core`"),
        ({"bukket": "b"}, "bukket"),
        ({"storage_class": ""}, "storage_class"),
        ({"s3_endpoint": "minio.example.com:9000"}, "s3_endpoint"),
        ({"s3_endpoint": "http://minio:abc"}, "s3_endpoint"),
        ({"s3_endpoint": "https://minio.example.com:99999"}, "s3_endpoint: Value error, Port out of range"),
        (
            {"s3_endpoint": "http://minio.minio.svc.cluster.local:9000"},
            "of services in the cluster the network is open to http://object-store.services",
        ),
        ({"database_cidrs": ["999.1.1.1/99"]}, "database_cidrs.0"),
        ({"priorities": {}}, "priorities.training"),
        ({"name": "development", "sign_in": ""}, "name is development, whose safety"),
        ({"pools": [CPU]}, "pools has no 'cpu-spot', where curation runs under profile h100x64"),
        ({"pools": [CPU, SPOT]}, "pools has no 'h100', where training runs"),
        ({"pools": [CPU, SPOT, H100 | {"name": "gpus"}]}, "pools has no 'h100'"),
        (
            {"pools": [CPU, SPOT, H100 | {"gpu": 32}]},
            "whose training takes at least 64 GPUs of pool h100 at once, which holds 32: it would wait forever",
        ),
        ({"pools": [CPU, SPOT, H100 | {"memory": "1Ti"}]}, "whose training takes at least 8000 GiB of pool h100 at once, which holds 1024"),
        ({"pools": [CPU, SPOT, H100 | {"heads": 0}]}, "pool h100 has no `heads`"),
        ({"pools": [CPU, SPOT, SPOT]}, "two pools have the same name"),
        ({"pools": [CPU | {"cpu": -5}]}, "pools.0.cpu"),
        (
            {"pools": [CPU | {"cpu": 3}], "profile": "smoke"},
            "profile is smoke, whose training takes at least 4 cores of pool cpu at once, which holds 3",
        ),
        (
            {"pools": [CPU | {"cpu": 2}, SPOT, H100]},
            "profile is h100x64, whose curation takes at least 9 cores of pool cpu at once, which holds 2",
        ),
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


def test_the_profiles_of_a_platform_say_what_they_need():
    assert {"gpu", "core"} <= features(platform("production")) and "own-services" not in features(platform("production"))
    assert {"binary", "own-services", "keys"} <= features(platform("development"))
