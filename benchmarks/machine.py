"""This machine to the facts that a measurement needs beside it."""

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("numba", "numpy", "orjson", "datasketch", "FastWARC", "Resiliparse", "ray", "pyarrow")


def machine_facts() -> dict[str, object]:
    """Return processor, cores, memory, and versions of Python and of the packages that this project's rows depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return {
        "processor": names[0] if names else platform.processor(),
        "vectors": next((flag for flag in ("avx512f", "avx2", "sse4_2") if flag in flags), ""),
        "cores": os.cpu_count(),
        "memory_gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def peak_bytes() -> int:
    """Return the most memory that this process ever had resident. `ru_maxrss` would begin with the size of the process that started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
