"""What the smallest recipe learns from: it is given on to everybody, so nothing of the machine may be in it."""

import sys
from pathlib import Path

from recipes.load import load_recipe
from tasks.sources.files import find_files

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"


def test_no_file_of_the_standard_library_tells_where_python_is_installed():
    recipe = load_recipe(TINY)
    places = [source.location for source in [*recipe.curation.sources, *recipe.sft.sources] if source.location.startswith("stdlib:")]
    files = {file.path for place in places for file in find_files(place, "a test")}
    assert len(places) == 3 and len(files) > 150
    assert [path for path in sorted(files) if sys.base_prefix in Path(path).read_text(encoding="utf-8", errors="replace")] == []
