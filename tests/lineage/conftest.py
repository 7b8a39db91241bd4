"""One small real store for all tests of lineage; whoever changes a byte of it puts it back."""

import pytest

from tests.lineage.small import SmallStore


@pytest.fixture(scope="package")
def small(tmp_path_factory) -> SmallStore:
    return SmallStore(tmp_path_factory.mktemp("lineage"))
