"""A commit to a platform that runs it: checks, images, registration, a smoke execution, active launch plans. A second time changes nothing.

python -m infra.deploy infra/platforms/production.yaml --dry-run   # prints and validates everything; touches no cluster and no registry
python -m infra.deploy infra/platforms/production.yaml             # does it; --skip tests and --skip smoke leave these out
"""

import argparse
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from infra import images, registration
from infra.commit import head, uncommitted
from infra.packaging import SMOKE, Entity, Package, faults, images_of, packaged, packages
from infra.platform import dry_run as dry_run_platform
from infra.settings import Platform, read_platform
from recipes.errors import BadInput

TESTS = ["make", "lint", "test-fast"]  # the slow ring, an hour, is continuous integration's
SKIPS = ("tests", "smoke")


@dataclass(frozen=True)
class Deployment:
    """What is put where: a commit's packages, with all that they hold."""

    platform: Platform
    commit: str
    packages: list[Package]
    entities: list[list[Entity]]

    @property
    def all_entities(self) -> list[Entity]:
        """Return the entities of all packages, in the order of registration."""
        return [entity for part in self.entities for entity in part]

    @property
    def images(self) -> dict[str, list[str]]:
        """Return the images that tasks run in, each with its stages."""
        return images_of(self.all_entities)

    @property
    def smoke(self) -> Entity:
        """Return the launch plan of the smoke run."""
        return next(one for one in self.all_entities if one.kind == "launch plan" and one.name == SMOKE)


def prepare(platform: Platform) -> Deployment:
    """Package the commit for a platform; BadInput with what is wrong."""
    commit = head()
    all_packages = packages(platform, commit)
    deployment = Deployment(platform, commit, all_packages, packaged(all_packages))
    wrong = [fault for package, part in zip(all_packages, deployment.entities, strict=True) for fault in faults(package, part)]
    if wrong:
        raise BadInput(f"{len(wrong)} entities are wrong: {'; '.join(wrong[:5])}")
    return deployment


def show(deployment: Deployment) -> None:
    """Print what is going to be put where."""
    platform = deployment.platform
    print(f"{platform.name}: https://flyte.{platform.host}, namespace {platform.namespace}, commit {deployment.commit}")
    for image, stages in deployment.images.items():
        print(f"image    {image}: {', '.join(stages)}")
    for package, entities in zip(deployment.packages, deployment.entities, strict=True):
        kinds = Counter(entity.kind for entity in entities)
        print(
            f"register {', '.join(f'{number} {kind}s' for kind, number in kinds.items())} for profile {package.profile} as {package.version}"
        )
    for entity in deployment.all_entities:
        if entity.kind == "launch plan" and entity.spec.fixed_inputs.literals:
            cron = entity.spec.entity_metadata.schedule.cron_schedule.schedule
            print(f"activate {entity.name}@{entity.identifier.version}{f', at {cron} (UTC)' if cron else ''}")


def dry_run(deployment: Deployment, skips: list[str]) -> None:
    """Print every step, and validate what needs no cluster; nothing is touched."""
    if said := uncommitted():
        print(f"! a deployment would be refused: {said}")
    if "tests" not in skips:
        print(shlex.join(TESTS))
    images.show_steps(deployment.images)
    if "smoke" not in skips:
        print(f"# run {SMOKE}@{deployment.smoke.identifier.version}, wait for its end; then activate all launch plans")
    print("# the platform itself:")
    dry_run_platform(deployment.platform, deployment.commit)
    print(f"✓ {len(deployment.all_entities)} entities packaged and valid; nothing was touched")


def deploy(deployment: Deployment, skips: list[str], poll_seconds: float) -> None:
    """Do it, in an order in which whatever fails leaves the versions active that were."""
    with registration.reaching(deployment.platform):
        client = registration.connect(deployment.platform)
        registration.check_project(client, deployment.platform)
    engine = images.find_engine(deployment.images)
    lacking = images.absent(engine, deployment.images)
    if "tests" not in skips:
        images.run(TESTS)
    images.put_in_place(engine, deployment.images, lacking)
    with registration.reaching(deployment.platform):
        outcomes = registration.register(client, deployment.all_entities)
        print(f"✓ registered {outcomes['new']} entities; {outcomes['there']} were there with the same content")
        if "smoke" not in skips:
            registration.run_smoke(client, deployment.smoke, poll_seconds)
        changed = registration.activate(client, deployment.all_entities)
    print(f"✓ activated {len(changed)} launch plans" if changed else "✓ all launch plans were active")
    new = outcomes["new"] or changed
    print(f"✓ {deployment.commit} is deployed" if new else f"✓ {deployment.commit} was deployed already: nothing changed")


def main() -> None:
    """Read the platform's file, package the commit, print the plan, then validate or deploy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platform", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--skip", action="append", choices=SKIPS, default=[])
    parser.add_argument("--poll-seconds", type=float, default=15.0, help="between two looks at the smoke execution")
    asked = parser.parse_args()
    if asked.poll_seconds <= 0:
        parser.error(f"--poll-seconds {asked.poll_seconds:g}: give more than 0")
    try:
        platform = read_platform(asked.platform)
        if (said := uncommitted()) and not asked.dry_run:
            raise BadInput(said)
        deployment = prepare(platform)
        show(deployment)
        dry_run(deployment, asked.skip) if asked.dry_run else deploy(deployment, asked.skip, asked.poll_seconds)
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
