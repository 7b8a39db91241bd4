"""Processes that work on steps, and their deaths at chosen moments."""

import os
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"worker": "ray::make_item", "head": "gcs_server"}  # as their command lines begin


def finished_items(store: Path) -> dict[Path, int]:
    """Return the records of finished items and when each was written."""
    return {path: path.stat().st_mtime_ns for path in store.rglob("done.json")}


def processes(name: str, session: int) -> list[int]:
    """Return processes of a session whose command line contains a name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\x00", b" ").decode(errors="replace")
                if name in line and os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
            except (OSError, ValueError):
                continue
    return found


def run_and_kill(command: list[str], store: Path, victim: str, when: int) -> tuple[int, dict[Path, int]]:
    """Run a driver and SIGKILL a worker, the Ray head or the driver once `when` items are finished.

    Returns the driver's exit status and the items that were finished before the kill. Everything that is left is killed too.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while len(finished_items(store)) < when and process.poll() is None:
            time.sleep(0.02)
        victims = [process.pid]
        while victim != "driver" and not (victims := processes(NAMES[victim], process.pid)) and process.poll() is None:
            time.sleep(0.005)
        assert process.poll() is None, "the work ended before the kill"
        before = finished_items(store)
        os.kill(victims[0], signal.SIGKILL)
        process.wait(timeout=240)
    finally:
        for pid in processes("", process.pid):
            os.kill(pid, signal.SIGKILL)
    return process.returncode, before
