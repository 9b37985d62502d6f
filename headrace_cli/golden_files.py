"""What golden requests send that is not in the declaration: files beside it or inside a package, and drawn pictures."""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from headrace.declaration.golden import FILE_MAX_BYTES, GoldenDeclaration
from headrace_cli.problems import Problem, plain

DRAWINGS = "golden.py"
"""Beside ``endpoint.yaml``: functions that give pictures."""


def read_content(golden: GoldenDeclaration, folder: Path) -> bytes | None:
    """The bytes of the file or picture that a golden request names; None where it names none.

    Raises:
        Problem: they cannot be had.
    """
    if golden.drawn is not None:
        return _draw(golden, folder / DRAWINGS)
    named = golden.image.path if golden.image else golden.request
    if named is None:
        return None
    home = folder
    if golden.image is not None and golden.image.package is not None:
        spec = find_spec(golden.image.package)
        if spec is None or not spec.submodule_search_locations:
            raise Problem(
                f"Golden request {golden.name} needs a file of the package {golden.image.package}: install it."
            )
        home = Path(spec.submodule_search_locations[0])
    path = home / named
    if not path.resolve().is_relative_to(home.resolve()):
        raise Problem(f"Golden request {golden.name}: {named} leads out of {home}.")
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            raise Problem(f"Golden request {golden.name}: {named} has more than {FILE_MAX_BYTES} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise Problem(f"Golden request {golden.name}: {path} cannot be read: {error.strerror}.") from error


def _draw(golden: GoldenDeclaration, file: Path) -> bytes:
    """A picture by the endpoint's own code, which is trusted as its build.py is."""
    where = f"Golden request {golden.name}: {golden.drawn} of {file}"
    spec = spec_from_file_location("headrace_golden", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise Problem(f"{where}: there is no such file.")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        picture = getattr(module, str(golden.drawn))()
    except Exception as error:
        raise Problem(f"{where}: {type(error).__name__}: {plain(error)}.") from error
    if not isinstance(picture, bytes):
        raise Problem(f"{where} must return the bytes of a picture.")
    return picture
