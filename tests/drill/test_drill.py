"""The drill on the smallest recipe: whatever is killed, the run ends bit for bit as if nothing had been."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from reynard.main import app
from tasks.drill.drill import VICTIMS
from tests.pipeline.micro import micro_recipe


@pytest.mark.slow
def test_a_run_survives_the_death_of_each_of_its_parts(tmp_path: Path):
    recipe = yaml.safe_load(micro_recipe(tmp_path).read_text())
    for stage in recipe["pretraining"]["stages"]:
        stage["tokens"] = stage["batch_tokens"] * 24
        for entry in stage["mixture"]:
            entry["max_epochs"] = 4.0
    (tmp_path / "drill.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    ended = CliRunner().invoke(
        app, ["drill", str(tmp_path / "drill.yaml"), "--draws", str(len(VICTIMS)), "--folder", str(tmp_path / "drill")]
    )
    assert ended.exit_code == 0, ended.output
    assert f"{len(VICTIMS)} of {len(VICTIMS)} draws ended bit for bit as the undisturbed run" in ended.output
    assert all(f"  {victim} " in ended.output for victim in VICTIMS)


def test_a_drill_without_draws_is_refused_in_words():
    ended = CliRunner().invoke(app, ["drill", "--draws", "0"])
    assert ended.exit_code == 2 and "--draws 0: give at least 1" in ended.output
