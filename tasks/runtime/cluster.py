"""The name of a cluster profile to the workers that a distributed job gets. Hardware is never in a recipe."""

import logging
import os
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


PROFILES = {
    "local": _local,
    "h100x8": lambda: Profile("h100x8", 8, 12, 1, zero_stage=1, micro_batch_tokens=16384, cpu_workers=96, **H100),
    "h100x64": lambda: Profile("h100x64", 64, 12, 1, zero_stage=1, micro_batch_tokens=16384, cpu_workers=768, **H100),  # 8 machines of 8
    "smoke": lambda: Profile("smoke", 2, 2, 0, zero_stage=1, micro_batch_tokens=4096, cpu_workers=4),  # a cluster's smoke run: no GPU
}


def find_profile(name: str) -> Profile:
    """Return a profile by name; BadInput if there is none."""
    if name not in PROFILES:
        raise BadInput(f"cluster profile {name!r} does not exist: set REYNARD_PROFILE to one of {', '.join(PROFILES)}")
    return PROFILES[name]()


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
