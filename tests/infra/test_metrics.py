"""Metrics of running jobs, from journals as training writes them; and that dashboard and alerts ask for metrics that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from infra.monitoring import dashboard
from reynard.metrics import COUNTED, OF_JOBS, OF_ROWS, Collector
from tasks.artifacts.store import Store
from tasks.engine.journal import JournalWriter

MONITORING = Path(__file__).resolve().parents[2] / "infra/monitoring"
JOB = {
    "stage": "stage2", "first_step": 100, "steps": 50, "tokens_per_step": 2000, "checkpoint_every_steps": 10, "world_size": 8, "started": 1000.0,
    "final_folder": "checkpoint/abc",
}  # fmt: skip
# What others' exporters give, by the exporter that docs/deployment.md names: the defaults of dcgm-exporter, Kueue 0.19 and Ray 2.60.
OF_OTHERS = {
    "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_XID_ERRORS",
    "kueue_pending_workloads", "kueue_cluster_queue_resource_usage", "kueue_cluster_queue_nominal_quota", "ray_node_mem_total",
}  # fmt: skip
METRIC = re.compile(r"\b((?:reynard|kueue|ray|DCGM|flyte)_\w+)")


def step(number: int, **columns: object) -> dict[str, object]:
    return {"step": number, "time": 1000.0 + number, "loss": 3.0, "learning_rate": 0.001, "gradient_norm": 0.5, "tokens_per_second": 500.0,
            "data_wait_seconds": 1.0, "checkpoint_stall_seconds": 0.0, "memory_bytes": 7, "mfu": 0.4} | columns  # fmt: skip


def write(store: Store, rows: list[dict[str, object]]) -> None:
    store.write("working/v1/job.json", orjson.dumps(JOB))
    writer = JournalWriter(store, "working/v1")
    for row in rows:
        writer.append(row)
    writer.flush()


def scraped(collector: Collector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_metrics_tell_the_newest_step_and_the_age_of_the_checkpoint(tmp_path):
    store = Store(str(tmp_path))
    write(store, [step(101, loss=4.0), step(110, checkpoint_stall_seconds=0.25), step(111, loss=2.5, checkpoint_bytes=99)])
    store.write("working/v1/step-110/_SUCCESS", b"")
    told = scraped(Collector(store))
    assert told["reynard_training_loss"] == 2.5
    assert (told["reynard_training_step"], told["reynard_training_last_step"], told["reynard_training_workers"]) == (111, 150, 8)
    assert (told["reynard_checkpoint_step"], told["reynard_checkpoint_timestamp_seconds"]) == (110, 1110.0)
    assert told["reynard_last_step_timestamp_seconds"] == 1111.0
    assert told["reynard_checkpoint_interval_seconds"] == 10 * 2000 / 500
    assert told["reynard_data_wait_ratio"] == 1.0 / (2000 / 500)
    assert told["reynard_checkpoint_stall_seconds"] == 0.25, "the newest step that stood still, not the newest step"


def test_a_job_that_took_no_step_yet_has_a_start_and_no_loss(tmp_path):
    store = Store(str(tmp_path))
    write(store, [])
    told = scraped(Collector(store))
    assert "reynard_training_loss" not in told
    assert told["reynard_last_step_timestamp_seconds"] == told["reynard_checkpoint_timestamp_seconds"] == 1000.0


def test_a_loss_that_is_no_number_is_told_as_such(tmp_path):
    store = Store(str(tmp_path))
    write(store, [step(101), step(102, loss=float("nan"), skipped="not finite", spike="not finite")])
    told = scraped(Collector(store))
    assert told["reynard_training_loss"] != told["reynard_training_loss"]
    assert (told["reynard_steps_skipped_total"], told["reynard_loss_spikes_total"]) == (1, 1)


def test_a_finished_job_is_told_no_more(tmp_path):
    store = Store(str(tmp_path))
    write(store, [step(101)])
    collector = Collector(store)
    assert "reynard_training_loss" in scraped(collector)
    store.write("checkpoint/abc/_SUCCESS", b"")
    assert "reynard_training_loss" not in scraped(collector)


def test_a_store_that_does_not_answer_is_counted_and_what_is_known_stays(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    write(store, [step(101)])
    collector = Collector(store)
    scraped(collector)

    def broken(prefix: str) -> list[str]:
        raise OSError("503 Slow Down")

    monkeypatch.setattr(store, "list", broken)
    told = scraped(collector)
    assert (told["reynard_training_loss"], told["reynard_store_errors_total"]) == (3.0, 1)


def rules() -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"] for rule in group["rules"]]


def asked() -> list[str]:
    variables = [entry["query"] for entry in dashboard.dashboard()["templating"]["list"]]
    return dashboard.queries() + variables + [str(rule["expr"]) for rule in rules()]


@pytest.mark.parametrize("query", asked())
def test_dashboard_and_alerts_ask_for_metrics_that_exist(query: str):
    ours = {*OF_ROWS, *OF_JOBS, *(f"{name}_total" for name in COUNTED), "reynard_store_reads_total", "reynard_store_errors_total"}
    names = set(METRIC.findall(re.sub(r"by \([^)]*\)", "", query)))
    assert names or query == "prometheus"
    assert names <= ours | OF_OTHERS


def test_the_watcher_gives_every_metric_that_it_says_it_gives(tmp_path):
    store = Store(str(tmp_path))
    write(store, [step(101, checkpoint_bytes=1, checkpoint_seconds=2.0, checkpoint_stall_seconds=0.1)])
    assert {*OF_ROWS, *OF_JOBS, *(f"{name}_total" for name in COUNTED)} <= set(scraped(Collector(store)))


def test_the_dashboards_file_is_what_its_list_of_panels_gives():
    assert dashboard.FILE.read_text() == dashboard.text(), "write it again: python -m infra.monitoring.dashboard"


def test_every_alert_names_a_page_that_says_what_to_do():
    root = MONITORING.parents[1]
    for rule in rules():
        page, _, heading = rule["annotations"]["runbook"].partition("#")
        titles = [line.lstrip("# ").lower() for line in (root / page).read_text().splitlines() if line.startswith("#")]
        assert not heading or heading in [re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles], rule["alert"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_alerts():
    done = subprocess.run(["promtool", "check", "rules", str(MONITORING / "rules.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
