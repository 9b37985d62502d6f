"""A folder of endpoints with one toy in it, whose build counts its runs."""

from pathlib import Path

BUILD = """
from pathlib import Path
from endpoints.{name}.numbers import TEXT

VERSIONS = ("v1", "v2")


def build(version, *, sources, out):
    log = Path(__file__).parent / "runs.txt"
    log.write_text((log.read_text() if log.exists() else "") + version + "\\n")
    sources.report("working", 0.5)
    (out / "model.onnx").write_text(TEXT + version)
    if version == "v2" and (Path(__file__).parent / "stop").exists():
        raise KeyboardInterrupt
    return {{"accuracy": 0.75}}
"""


def make_endpoint(folder: Path) -> Path:
    """Writes the toy's folder: a build in two modules, a model.py, rules, sources and a declaration."""
    folder.mkdir(parents=True)
    (folder / "build.py").write_text(BUILD.format(name=folder.name), encoding="utf-8")
    (folder / "numbers.py").write_text("TEXT = 'one '\n", encoding="utf-8")
    (folder / "model.py").write_text("def load(directory): ...\n", encoding="utf-8")
    (folder / "rules.py").write_text("def answer(tensors, parameters): ...\n", encoding="utf-8")
    (folder / "sources.txt").write_text("# nothing to download\n", encoding="utf-8")
    (folder / "endpoint.yaml").write_text("name: toy\ntask: tabular-scoring\n", encoding="utf-8")
    return folder


def runs(folder: Path) -> list[str]:
    """Versions that the toy's build was run for, in order."""
    log = folder / "runs.txt"
    return log.read_text(encoding="utf-8").split() if log.exists() else []
