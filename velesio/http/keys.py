"""API keys: who asks, and which models they may use."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from velesio.config import KeySection, Scope
from velesio.errors import ConfigError, Unauthorized


class Credential(msgspec.Struct, frozen=True):
    """The owner of a key, as the rest of the gateway sees it."""

    name: str = "local"
    tenant: str = "default"
    models: tuple[str, ...] = ("*",)
    """Patterns of model names, as in a shell."""
    scopes: tuple[Scope, ...] = ("text", "images")
    """What the key is for."""

    @property
    def restricted(self) -> bool:
        """Whether there are models that this key may not use."""
        return "*" not in self.models

    def allows(self, *names: str) -> bool:
        """Whether any of a model's names (its own, its aliases) matches a pattern of this key."""
        return any(fnmatchcase(name, pattern) for pattern in self.models for name in names)


LOCAL = Credential(scopes=("text", "images", "admin"))
"""Who asks where no keys are configured: a process on the same machine."""


class KeyRing:
    """All configured keys, as SHA-256 digests; empty: everybody on this machine is `LOCAL`."""

    def __init__(self, sections: Iterable[KeySection] = ()) -> None:
        self._keys = [
            (_digest(section), Credential(section.name, section.tenant, section.models, section.scopes))
            for section in sections
        ]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def authenticate(self, headers: Mapping[str, str], *, loopback: bool) -> Credential:
        """Who sends a request with these headers; without keys, whatever they carry is ignored.

        Raises:
            Unauthorized: no key, a wrong key, or a caller from elsewhere where no keys are configured.
        """
        if not self._keys:
            if loopback:
                return LOCAL
            raise Unauthorized("this server has no API keys and so serves its own machine only; configure [[keys]]")
        token = presented(headers)
        if not token:
            raise Unauthorized("Missing API Key: send it as `Authorization: Bearer KEY` or `X-Api-Key: KEY`")
        credential = self.find(token)
        if credential is None:
            raise Unauthorized
        return credential

    def find(self, token: str) -> Credential | None:
        """The owner of `token`. Every key is compared, so that the time tells nothing about the match."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, credential in self._keys:
            if hmac.compare_digest(known, digest):
                found = credential
        return found


def presented(headers: Mapping[str, str]) -> str:
    """The key that a request carries: bearer token, bare `Authorization`, password of HTTP Basic, or, where there is
    no `Authorization`, `X-Api-Key`; empty if there is none."""
    value = headers.get("Authorization", "").strip()
    if not value:
        return headers.get("X-Api-Key", "").strip()
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic" and rest:
        return _password(rest.strip())
    return value


def _password(encoded: str) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded.partition(":")[2]


def _digest(section: KeySection) -> bytes:
    if section.token:
        return hashlib.sha256(section.token.encode()).digest()
    try:
        digest = bytes.fromhex(section.sha256)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ConfigError(f"keys: sha256 of {section.name!r} must be the 64 hex digits of the token's SHA-256")
    return digest
