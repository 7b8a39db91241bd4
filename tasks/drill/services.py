"""A real S3 server and a real MLflow server of the drill's own, each of which can be killed and comes back with its data."""

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from recipes.errors import BadInput
from tasks.drill.processes import kill_session

DOWN_SECONDS = 3.0  # that a server is away


@dataclass
class Services:
    """Both servers on loopback. While entered, this process and those that it starts reach them."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    before: dict[str, str | None] = field(default_factory=dict)

    def __enter__(self) -> "Services":
        try:
            from infra.local.services import start_mlflow, start_s3
        except ImportError as error:
            raise BadInput(f"the drill needs the test tools ({error}): run `make install-test` first") from None
        self.running["s3"], s3 = start_s3(self.folder / "s3")
        self.running["mlflow"], mlflow = start_mlflow(self.folder / "mlflow")
        self.variables = s3 | mlflow
        self.before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        return self

    def interrupt(self, name: str) -> None:
        """Kill a server and everything it started; bring it back at the same address with the same data."""
        from infra.local.services import restart

        kill_session(self.running[name].pid)
        self.running[name].wait()
        time.sleep(DOWN_SECONDS)
        self.running[name] = restart(self.running[name])

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            kill_session(process.pid)
        for name, value in self.before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
