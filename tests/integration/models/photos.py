"""Photos for the detector's tests, out of pinned packages: nothing binary is committed.

Those of scikit-image come by pip, those of Darknet by apt where the machine has it. Each is checked by SHA-256, for the
hand boxes were drawn on those very files.
"""

import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from endpoints.building.errors import BuildError
from endpoints.building.sources import Pin, fetch

SCIKIT_IMAGE = Pin(
    "scikit-image",
    "0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "BSD-3-Clause",
)
# The photos do not depend on the Python or the machine that the wheel is for.
ANY_MACHINE = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64")
APT_TIMEOUT_S = 100
DARKNET_FOLDER = Path("usr/share/darknet/data")
SHA256 = {
    "dog.jpg": "5a9522051c3cec2bbd2f6323fccba32e8fbf3ddcc2b3e2fd46b04c720bc6f866",
    "person.jpg": "cdcbab947e46110fc2b77784ac54ddbbab2640f1e44cb5e91fc8984a9793a7d1",
    "eagle.jpg": "f95f57297fd51a6c5ddceb5ed6916fa759d1d65f402fee34c05b31a9608755c0",
    "giraffe.jpg": "00dc48a9b2af8a1fe4c4b79319726591f1033c7e1150f21e7577a79f3b6659f1",
    "horses.jpg": "c8f0a677a1356569e2ce71d2fa88c1030c0ae57ecf5e14170e02d9a86a20dcb4",
    "kite.jpg": "87410f52f79cc256c3949b48a3548632c07c8e9943468ef8caa6250f6643be8e",
}


class PhotoMissingError(Exception):
    """A photo cannot be had on this machine; the message says why."""


def photo(name: str, *, cache: Path) -> bytes:
    """One photo as the bytes of its file: ``.png`` of scikit-image, ``.jpg`` of Darknet.

    Raises:
        PhotoMissingError: It cannot be had here.
    """
    if name.endswith(".png"):
        return _of_scikit_image(name, cache)
    kept = cache / f"photo-{SHA256[name]}"
    if not kept.is_file():
        _fetch_darknet(cache)
    content = kept.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise PhotoMissingError(f"{kept} is damaged: remove it")
    return content


def _of_scikit_image(name: str, cache: Path) -> bytes:
    try:
        wheel = fetch(SCIKIT_IMAGE, cache=cache, options=ANY_MACHINE)
    except BuildError as error:
        raise PhotoMissingError(str(error)) from error
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"skimage/data/{name}")


def _fetch_darknet(cache: Path) -> None:
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    if apt is None or dpkg is None:
        raise PhotoMissingError("the photos are in Debian's package darknet, and this machine has no apt-get and dpkg")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
        try:
            got = subprocess.run(
                [apt, "download", "darknet"], cwd=scratch, capture_output=True, timeout=APT_TIMEOUT_S, check=False
            )
            packages = list(Path(scratch).glob("darknet_*.deb"))
            if got.returncode != 0 or len(packages) != 1:
                raise PhotoMissingError("apt-get offers no package darknet here ('apt-get update' may help)")
            subprocess.run(
                [dpkg, "-x", str(packages[0]), scratch], capture_output=True, timeout=APT_TIMEOUT_S, check=True
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise PhotoMissingError(f"apt-get or dpkg failed: {type(error).__name__}") from error
        for name, sha256 in SHA256.items():
            path = Path(scratch) / DARKNET_FOLDER / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise PhotoMissingError(
                    f"this package darknet holds another {name}; the boxes were drawn on the old one"
                )
            path.replace(cache / f"photo-{sha256}")
