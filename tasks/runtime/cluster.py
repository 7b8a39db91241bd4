"""The name of a cluster profile to the workers that a distributed job gets. Hardware is never in a recipe."""

import logging
import os
import re
from dataclasses import dataclass

from recipes.errors import BadInput


@dataclass(frozen=True)
class Profile:
    """Where jobs run: how many training workers, what each one gets, and how DeepSpeed divides the state."""

    name: str
    workers: int
    cpus_per_worker: int
    gpus_per_worker: int
    zero_stage: int
    micro_batch_tokens: int  # most tokens a worker holds activations for at once
    cpu_workers: int = 1  # processes for data work: curation and tokenization
    gpu: str | None = None  # what a worker computes on, for plans; None: its CPU cores
    gpu_memory_bytes: int = 0
    gpu_peak_flops: float = 0.0  # dense bfloat16, a second
    gpus_per_machine: int = 8
    inside_bytes_per_second: float = 0.0  # of a GPU's link to the others of its machine, one direction
    between_bytes_per_second: float = 0.0  # of a GPU's link to other machines, one direction
    compile_blocks: bool = False  # torch.compile of the decoder's blocks
    checkpoint_blocks: bool = False  # keep only their inputs for the backward pass: a third more work for a fraction of the memory


H100 = {  # SXM, from its data sheet; NVLink 900 GB/s in both directions together; one 400 Gb/s adapter a GPU, as in DGX H100
    "gpu": "H100", "gpu_memory_bytes": 80 * 10**9, "gpu_peak_flops": 989e12, "compile_blocks": True, "gpus_per_machine": 8,
    "inside_bytes_per_second": 450e9, "between_bytes_per_second": 50e9,
}  # fmt: skip


def _local() -> Profile:
    """The machine at hand: REYNARD_WORKERS processes (default 2, real data parallelism) that share its cores."""
    cores = os.cpu_count() or 1
    asked = os.environ.get("REYNARD_WORKERS", "2")
    if not asked.isdecimal() or int(asked) < 1:
        raise BadInput(f"REYNARD_WORKERS is {asked!r}: it counts training processes, so set it to a whole number of at least 1")
    workers = int(asked)
    return Profile("local", workers, max(cores // workers, 1), 0, zero_stage=1, micro_batch_tokens=4096, cpu_workers=cores)


def _smoke() -> Profile:
    """A cluster's smoke run: every stage on small pods without GPUs."""
    return Profile("smoke", 2, 1, 0, zero_stage=1, micro_batch_tokens=4096, cpu_workers=2)


def _h100(gpus: int) -> Profile:
    """So many H100s in machines of eight, with twelve cores each; data work in a pool of at most 768 cores beside them."""
    return Profile(f"h100x{gpus}", gpus, 12, 1, zero_stage=1, micro_batch_tokens=16384, cpu_workers=min(12 * gpus, 768), **H100)


def find_profile(name: str) -> Profile:
    """Return a profile by name; BadInput if there is none."""
    if name == "local":
        return _local()
    if name == "smoke":
        return _smoke()
    found = re.fullmatch(r"h100x([1-9]\d{0,4})", name)
    if not found or int(found[1]) % 8:
        raise BadInput(
            f"cluster profile {name!r} does not exist: set REYNARD_PROFILE to local, smoke, or h100xN for N H100s in machines of eight (N is 8, 16, 64, ...)"
        )
    return _h100(int(found[1]))


RAY_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "15",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
}


def connect_ray() -> None:
    """Join the Ray cluster at hand, or start one on this machine; once a process."""
    for key, value in RAY_SETTINGS.items():
        os.environ.setdefault(key, value)
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        print("  starting Ray on this machine", flush=True)
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process that asks whether nodes are drained: this one is not
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "20")  # a head of our own does not come back: notice it soon
        ray.init(
            num_cpus=max(os.cpu_count() or 1, find_profile("local").workers),
            include_dashboard=True,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
