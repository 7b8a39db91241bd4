"""Processes found by what their command line says, on this machine or on a Ray cluster, and signals for them."""

import contextlib
import os
import signal
from pathlib import Path


def in_session(name: str, session: int) -> list[int]:
    """Return the processes of a session whose command line contains a name."""
    return [pid for pid, line in _command_lines() if name in line and _session(pid) == session]


def kill_session(session: int) -> None:
    """Kill all processes of a session."""
    for pid in in_session("", session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def signal_on_cluster(name: str, number: int) -> bool:
    """Send a signal to one process of the Ray cluster at hand whose command line begins with a name; tell whether there was one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0)
    def signal_here() -> bool:
        found = [pid for pid, line in _command_lines() if line.startswith(name)]
        if found:
            os.kill(found[0], number)
        return bool(found)

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    return any(
        ray.get(signal_here.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()) for node in nodes
    )


def _command_lines() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\x00", b" ").decode(errors="replace")))
    return found


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1
