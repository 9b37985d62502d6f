"""API keys in the operating system's keyring, each bound to its profile and URL.

A key is filed under both, so that a profile whose URL is changed does not hand its old key to the new place.
"""

from collections.abc import Callable
from typing import Protocol

from headrace_cli.problems import Problem

SERVICE = "headrace"
KEY_VARIABLE = "HEADRACE_API_KEY"
NO_KEYRING = (
    f"This machine has no keyring that can be used, and a key is not written to a file: set {KEY_VARIABLE} instead."
)


class Keyring(Protocol):
    """Secrets by service and user name; the module `keyring` is one."""

    def get_password(self, service: str, username: str, /) -> str | None:
        """The secret, or None."""

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Keep the secret."""

    def delete_password(self, service: str, username: str, /) -> None:
        """Forget the secret."""


class Keys:
    """The keys of this person.

    Args:
        open_keyring: gives the keyring, when it is first needed: looking for one takes a tenth of a second.
    """

    def __init__(self, open_keyring: Callable[[], Keyring]) -> None:
        self._open_keyring = open_keyring

    def find(self, profile: str, url: str) -> str | None:
        """The key, or None when there is none or no keyring to look into."""
        from keyring.errors import KeyringError

        try:
            return self._open_keyring().get_password(SERVICE, _name(profile, url))
        except KeyringError:
            return None

    def keep(self, profile: str, url: str, key: str) -> None:
        """Keep a key.

        Raises:
            Problem: there is no keyring, or it is locked.
        """
        from keyring.errors import KeyringError

        try:
            self._open_keyring().set_password(SERVICE, _name(profile, url), key)
        except KeyringError as error:
            raise Problem(NO_KEYRING) from error

    def forget(self, profile: str, url: str) -> bool:
        """Forget a key; False when there was none.

        Raises:
            Problem: there is no keyring, or it is locked.
        """
        from keyring.errors import KeyringError, PasswordDeleteError

        try:
            self._open_keyring().delete_password(SERVICE, _name(profile, url))
        except PasswordDeleteError:
            return False
        except KeyringError as error:
            raise Problem(NO_KEYRING) from error
        return True


def _name(profile: str, url: str) -> str:
    return f"{profile} {url}"
