"""Profiles in a file, and which service and key a command means.

    --profile NAME              the profile, and neither HEADRACE_URL nor HEADRACE_PROFILE
    HEADRACE_URL                that address; the key from HEADRACE_API_KEY
    HEADRACE_PROFILE            the profile
    `headrace config use NAME`  the profile
    otherwise                   `local`: the platform that runs from this folder

A profile's key is HEADRACE_API_KEY where that is set, else the one in the keyring; `local` has its own.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from headrace_cli.keys import KEY_VARIABLE, Keys
from headrace_cli.local import find_local, is_loopback
from headrace_cli.problems import Problem, UsageProblem

CONFIG_NAME = "config.toml"
LOCAL = "local"
ENVIRONMENT = "environment"
"""What is shown as the profile when the address comes from HEADRACE_URL."""
URL_VARIABLE, PROFILE_VARIABLE = "HEADRACE_URL", "HEADRACE_PROFILE"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Config:
    """The file: addresses by profile, and the profile that is used when none is named."""

    urls: Mapping[str, str] = field(default_factory=dict)
    current: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A service. `profile` is how it is called, `source` where that comes from."""

    profile: str
    url: str
    source: str


@dataclass(frozen=True, slots=True)
class Target:
    """A service and the key for it; `key_source` says where the key comes from, in words."""

    place: Place
    key: str = field(repr=False)
    key_source: str


def read_config(folder: Path) -> Config:
    """The file in this folder; an empty one when there is none.

    Raises:
        Problem: it is no TOML, or not of this form.
    """
    path = folder / CONFIG_NAME
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        urls = {check_name(name): check_url(entry["url"]) for name, entry in document.get("profiles", {}).items()}
        current = str(document.get("current", ""))
    except FileNotFoundError:
        return Config()
    except UsageProblem as error:
        raise Problem(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Problem(f"{path} cannot be read: correct it, or remove it and set the profiles again.") from error
    return Config(urls, current)


def write_config(folder: Path, config: Config) -> Path:
    """Writes the file, whole or not at all, and returns where it is."""
    lines = [f"current = {json.dumps(config.current)}", ""] if config.current else []
    # Names and addresses are checked to be plain ASCII without controls: for such, JSON's strings are TOML's.
    for name, url in sorted(config.urls.items()):
        lines += [f"[profiles.{name}]", f"url = {json.dumps(url)}", ""]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG_NAME
    draft = path.with_suffix(".draft")
    draft.write_text("\n".join(lines), encoding="utf-8")
    draft.replace(path)
    return path


def check_name(name: str) -> str:
    """A profile's name.

    Raises:
        UsageProblem: it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise UsageProblem("A profile's name is letters, digits, '-' and '_', at most 64, beginning with no sign.")
    return name


def check_url(url: str) -> str:
    """An address without its last slash. A key must not travel in clear: only this machine may be asked over http.

    Raises:
        UsageProblem: it cannot be an address, or a key would be readable on the way.
    """
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and url.isascii() and url.isprintable() and " " not in url and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.scheme not in {"http", "https"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageProblem("The address must be like https://api.example.com, without user, query or fragment.")
    if parts.scheme == "http" and not is_loopback(url):
        raise UsageProblem("The address must begin with https://: over http:// anyone on the way could read the key.")
    return url.rstrip("/")


def find_place(flag: str | None, environment: Mapping[str, str], config: Config, here: Path) -> Place:
    """Which service is meant; see above.

    Raises:
        Problem: the profile is not known, or the local platform does not run.
    """
    if not flag and environment.get(URL_VARIABLE):
        return Place(ENVIRONMENT, check_url(environment[URL_VARIABLE]), URL_VARIABLE)
    candidates: tuple[tuple[str | None, str], ...] = (
        (flag, "--profile"),
        (environment.get(PROFILE_VARIABLE), PROFILE_VARIABLE),
        (config.current, CONFIG_NAME),
        (LOCAL, "default"),
    )
    name, source = next((given, source) for given, source in candidates if given)
    if name in config.urls:
        return Place(name, config.urls[name], source)
    if name == LOCAL:
        return Place(LOCAL, find_local(here).url, f"{source}, of the platform that runs here")
    known = ", ".join(sorted({*config.urls, LOCAL}))
    raise Problem(
        f"There is no profile {name!r}; there are: {known}. Make one: headrace config set-profile NAME --url …"
    )


def find_target(place: Place, environment: Mapping[str, str], config: Config, here: Path, keys: Keys) -> Target:
    """The service with its key.

    Raises:
        Problem: there is no key.
    """
    if place.profile == LOCAL and LOCAL not in config.urls:
        return Target(place, find_local(here).key, "the platform that runs here")
    if key := environment.get(KEY_VARIABLE, "").strip():
        return Target(place, key, KEY_VARIABLE)
    if kept := keys.find(place.profile, place.url):
        return Target(place, kept, "keyring")
    if place.profile == ENVIRONMENT:
        raise Problem(f"There is no key for {place.url}: set {KEY_VARIABLE} beside {URL_VARIABLE}.")
    login = f"headrace --profile {place.profile} login"
    raise Problem(f"There is no key for profile {place.profile!r}: {login}, or set {KEY_VARIABLE}.")


def with_profile(config: Config, name: str, url: str) -> Config:
    """The file with one profile more, or another address for it; the first one becomes the current one."""
    return replace(config, urls={**config.urls, name: url}, current=config.current or name)
