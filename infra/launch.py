"""The active version of a launch plan to an execution of it: what a click on Launch in Flyte's console does.

python -m infra.launch infra/platforms/production.yaml pipeline-fox1
"""

import argparse
import sys
from pathlib import Path

from infra.registration import connect, launch, reaching
from infra.settings import read_platform
from recipes.errors import BadInput


def main() -> None:
    """Read the platform's file, start the launch plan, print where to watch it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platform", type=Path)
    parser.add_argument("launch_plan")
    asked = parser.parse_args()
    try:
        platform = read_platform(asked.platform)
        with reaching(platform):
            name = launch(connect(platform), platform.project, platform.domain, asked.launch_plan)
    except BadInput as error:
        sys.exit(f"error: {error}")
    print(f"https://flyte.{platform.host}/console/projects/{platform.project}/domains/{platform.domain}/executions/{name}")


if __name__ == "__main__":
    main()
