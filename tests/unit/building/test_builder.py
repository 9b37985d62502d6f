"""The builder: builds what is missing or has changed, once, in one move, and leaves nothing half made."""

from pathlib import Path

import pytest

from endpoints.building.artifact import artifact_digest, read_manifest
from endpoints.building.builder import Built, build_endpoint, only_build
from endpoints.building.errors import RecipeError
from endpoints.building.recipe import find_endpoints, read_recipe
from tests.unit.building.toy_endpoint import make_endpoint, runs


def build(folder: Path, root: Path) -> list[Built]:
    """Builds one endpoint as the command does."""
    with only_build(root, report=print):
        return list(build_endpoint(folder, root=root, cache=root / "cache", report=lambda _text, _part: None))


def test_all_versions_are_built_with_their_manifest(tmp_path: Path) -> None:
    """Each version has its files, model.py and a manifest with the task, the metrics and every file."""
    folder, root = make_endpoint(tmp_path / "endpoints" / "toy_one"), tmp_path / "artifacts"
    built = build(folder, root)
    assert [item.version for item in built] == ["v1", "v2"]
    manifest = read_manifest(root / "toy_one" / "v2")
    assert set(manifest["files"]) == {"model.onnx", "model.py"}
    assert (manifest["task"], manifest["metrics"]) == ("tabular-scoring", {"accuracy": 0.75})
    assert built[1].digest == artifact_digest(root / "toy_one" / "v2")


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    """While the recipe stays the same and the files are there, no build runs and the order is kept."""
    folder, root = make_endpoint(tmp_path / "endpoints" / "toy_two"), tmp_path / "artifacts"
    first = build(folder, root)
    second = build(folder, root)
    assert runs(folder) == ["v1", "v2"]
    assert [item.made_in_s for item in second] == [None, None]
    assert [item.digest for item in first] == [item.digest for item in second]


@pytest.mark.parametrize("changed", ["build.py", "numbers.py", "model.py", "sources.txt"])
def test_a_changed_recipe_is_built_again(tmp_path: Path, changed: str) -> None:
    """A change to anything that shapes the artifact builds it again."""
    folder, root = make_endpoint(tmp_path / "endpoints" / "toy_three"), tmp_path / "artifacts"
    build(folder, root)
    path = folder / changed
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert all(item.made_in_s is not None for item in build(folder, root))


def test_rules_are_no_part_of_the_recipe(tmp_path: Path) -> None:
    """A change to the rules, which no artifact holds, builds nothing."""
    folder = make_endpoint(tmp_path / "endpoints" / "toy_four")
    before = read_recipe(folder).digest
    (folder / "rules.py").write_text("changed = 1\n", encoding="utf-8")
    assert read_recipe(folder).digest == before


def test_a_version_that_went_missing_is_built_alone(tmp_path: Path) -> None:
    """Only the version whose file is gone is built again."""
    folder, root = make_endpoint(tmp_path / "endpoints" / "toy_five"), tmp_path / "artifacts"
    build(folder, root)
    (root / "toy_five" / "v1" / "model.onnx").unlink()
    build(folder, root)
    assert runs(folder) == ["v1", "v2", "v1"]


def test_a_stopped_build_leaves_nothing_half_made(tmp_path: Path) -> None:
    """Ctrl-C inside the second version keeps the first and no trace of the second; the next run makes only that."""
    folder, root = make_endpoint(tmp_path / "endpoints" / "toy_six"), tmp_path / "artifacts"
    (folder / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        build(folder, root)
    assert [path.name for path in (root / "toy_six").iterdir()] == ["v1"]
    (folder / "stop").unlink()
    build(folder, root)
    assert runs(folder) == ["v1", "v2", "v2"]


def test_a_killed_build_is_swept_away(tmp_path: Path) -> None:
    """What a build that was killed outright left behind is removed by the next one."""
    left = tmp_path / "artifacts" / "toy" / ".making-dead"
    left.mkdir(parents=True)
    with only_build(tmp_path / "artifacts", report=lambda _text, _part: None):
        assert not left.exists()


def test_endpoints_are_found_by_their_build(tmp_path: Path) -> None:
    """A folder with a build.py is an endpoint to build; an unknown name is refused with the names there are."""
    make_endpoint(tmp_path / "toy_a")
    make_endpoint(tmp_path / "toy_b")
    (tmp_path / "serving").mkdir()
    assert [path.name for path in find_endpoints(tmp_path, ())] == ["toy_a", "toy_b"]
    assert [path.name for path in find_endpoints(tmp_path, ("toy_b",))] == ["toy_b"]
    with pytest.raises(RecipeError, match=r"no build.py for toy_c; there is one for toy_a, toy_b"):
        find_endpoints(tmp_path, ("toy_c",))


def test_a_folder_without_a_task_is_refused(tmp_path: Path) -> None:
    """A declaration without a task is named, before anything is built."""
    folder = make_endpoint(tmp_path / "toy_seven")
    (folder / "endpoint.yaml").write_text("name: toy\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="task"):
        read_recipe(folder)
