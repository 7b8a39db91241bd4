"""A short list of panels to Grafana's dashboard: python -m infra.monitoring.dashboard writes dashboard.json beside this file."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dashboard.json")
JSON = dict[str, Any]
JOBS = '{stage=~"$stage"}'
GPUS = '{namespace="$namespace"}'
OF_GPUS = '{resource="nvidia.com/gpu"}'
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
# Rows of panels: title, unit (Grafana's names), width of 24, and queries with their legends. Where each metric comes from: docs/deployment.md
PANELS: list[list[tuple[str, str, int, list[tuple[str, str]]]]] = [
    [
        ("Loss", "none", 12, [(f"reynard_training_loss{JOBS}", "{{stage}}")]),
        ("Tokens per second", "short", 6, [(f"reynard_training_tokens_per_second{JOBS}", "{{stage}}")]),
        ("MFU", "percentunit", 6, [(f"reynard_training_mfu_ratio{JOBS}", "{{stage}}")]),
    ],
    [
        ("Age of the newest checkpoint", "s", 6, [(f"time() - reynard_checkpoint_timestamp_seconds{JOBS}", "{{stage}}"),
                                                  (f"reynard_checkpoint_interval_seconds{JOBS}", "usual interval")]),
        ("Since the last step", "s", 6, [(f"time() - reynard_last_step_timestamp_seconds{JOBS}", "{{stage}}")]),
        ("Done", "percentunit", 6, [(f"reynard_training_step{JOBS} / reynard_training_last_step{JOBS}", "{{stage}}")]),
        ("Skipped steps and spikes in an hour", "short", 6, [(f"increase(reynard_steps_skipped_total{JOBS}[1h])", "skipped"),
                                                             (f"increase(reynard_loss_spikes_total{JOBS}[1h])", "spikes")]),
    ],
    [
        ("Gradient norm", "none", 6, [(f"reynard_training_gradient_norm{JOBS}", "{{stage}}")]),
        ("Learning rate", "sci", 6, [(f"reynard_training_learning_rate{JOBS}", "{{stage}}")]),
        ("Share of a step spent waiting for data", "percentunit", 6, [(f"reynard_data_wait_ratio{JOBS}", "{{stage}}")]),
        ("Checkpoints: stall and time to seal", "s", 6, [(f"reynard_checkpoint_stall_seconds{JOBS}", "stands still"),
                                                         (f"reynard_checkpoint_seal_seconds{JOBS}", "until sealed")]),
    ],
    [
        ("GPU utilization", "percent", 6, [(f"avg by (Hostname) (DCGM_FI_DEV_GPU_UTIL{GPUS})", "{{Hostname}}")]),
        ("GPU memory in use", "decmbytes", 6, [(f"max by (Hostname) (DCGM_FI_DEV_FB_USED{GPUS})", "{{Hostname}}")]),
        ("GPU power", "watt", 6, [(f"sum by (Hostname) (DCGM_FI_DEV_POWER_USAGE{GPUS})", "{{Hostname}}")]),
        ("GPU errors (XID)", "none", 6, [(f"max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS{GPUS})", "{{Hostname}} {{gpu}}")]),
    ],
    [
        ("Jobs waiting, by pool", "short", 8, [("sum by (cluster_queue) (kueue_pending_workloads)", "{{cluster_queue}}")]),
        ("GPUs in use and held, by pool", "short", 8, [(f"sum by (cluster_queue) (kueue_cluster_queue_resource_usage{OF_GPUS})", "in use: {{cluster_queue}}"),
                                                       (f"sum by (cluster_queue) (kueue_cluster_queue_nominal_quota{OF_GPUS})", "held: {{cluster_queue}}")]),
        ("Ray nodes", "short", 8, [('count by (ray_cluster) (ray_node_mem_total)', "{{ray_cluster}}")]),
    ],
]  # fmt: skip


def queries() -> list[str]:
    """Return every query of the dashboard."""
    return [query for row in PANELS for _, _, _, asked in row for query, _ in asked]


def dashboard() -> JSON:
    """Return the dashboard in Grafana's form."""
    panels: list[JSON] = []
    for number, row in enumerate(PANELS):
        left = 0
        for title, unit, width, asked in row:
            targets = [{"refId": chr(65 + place), "expr": query, "legendFormat": legend} for place, (query, legend) in enumerate(asked)]
            panels.append({
                "id": len(panels) + 1, "type": "timeseries", "title": title, "datasource": PROMETHEUS,
                "gridPos": {"h": 8, "w": width, "x": left, "y": 8 * number}, "targets": targets,
                "fieldConfig": {"defaults": {"unit": unit, "custom": {"spanNulls": True}}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            })  # fmt: skip
            left += width
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {"name": "stage", "type": "query", "query": "label_values(reynard_training_step, stage)", "datasource": PROMETHEUS,
         "includeAll": True, "multi": True, "allValue": ".*", "refresh": 2},
        {"name": "namespace", "type": "query", "query": 'label_values(DCGM_FI_DEV_GPU_UTIL, namespace)', "datasource": PROMETHEUS,
         "refresh": 2},
    ]  # fmt: skip
    return {
        "uid": "reynard-training", "title": "Reynard: training", "schemaVersion": 39, "version": 1, "refresh": "30s", "tags": ["reynard"],
        "time": {"from": "now-6h", "to": "now"}, "templating": {"list": variables}, "panels": panels,
    }  # fmt: skip


def text() -> str:
    """Return dashboard.json's text."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
