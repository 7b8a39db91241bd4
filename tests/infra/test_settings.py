"""A platform's file to checked settings: what is unsafe, contradicts itself or would wait forever is refused with the value."""

import re

import pytest
import yaml

from infra.platform import features
from infra.settings import filled, read_platform
from recipes.errors import BadInput
from tests.infra.platforms import INFRA, platform


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
