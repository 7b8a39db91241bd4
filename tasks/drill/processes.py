"""A session's processes, found and killed: what a driver started goes with it."""

import contextlib
import os
import signal
from pathlib import Path


def in_session(name: str, session: int) -> list[int]:
    """Return the processes of a session whose command line contains a name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\x00", b" ").decode(errors="replace")
                if name in line and os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
            except (OSError, ValueError):  # it has just ended
                continue
    return found


def kill_session(session: int) -> None:
    """Kill all processes of a session."""
    for pid in in_session("", session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
