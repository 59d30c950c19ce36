"""API keys: who asks, and which models they may use."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec
import structlog

from velesio.config import AccessSection, KeySection, Limits, LimitsSection, Scope, Urgency
from velesio.errors import ConfigError, Forbidden, KeyRevoked, Unauthorized, VelesioError
from velesio.http.access.guesses import Guesses
from velesio.queue.credentials import KeyRecord, digest, parse
from velesio.queue.tenants import Tenant

EXPIRED = "this API key has expired"

log = structlog.get_logger("velesio.http")


class Credential(msgspec.Struct, frozen=True):
    """The owner of a key, as the rest of the gateway sees it."""

    name: str = "local"
    tenant: str = "default"
    models: tuple[str, ...] = ("*",)
    """Patterns of model names, as in a shell."""
    scopes: tuple[Scope, ...] = ("text", "images")
    """What the key is for."""
    id: str = "local"
    """What accounts and limits call it; a configured key's is its name."""
    within: tuple[str, ...] = ("*",)
    """Patterns of the models that its tenant may use."""
    limits: Limits = Limits()
    expires: float = 0.0
    """Unix seconds; 0: never."""
    priority: Urgency = "normal"
    """Of its requests, unless they say another."""
    priority_max: Urgency = "normal"
    """What they may say at most."""

    @property
    def restricted(self) -> bool:
        """Whether there are models that this key may not use."""
        return "*" not in self.models or "*" not in self.within

    def allows(self, *names: str) -> bool:
        """Whether any of a model's names (its own, its aliases) matches a pattern of this key, and one of its
        tenant."""
        return _matches(self.models, names) and _matches(self.within, names)


def _matches(patterns: Iterable[str], names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


LOCAL = Credential(scopes=("text", "images", "admin"), priority_max="interactive")
"""Who asks where no keys are configured: a process on the same machine."""


class _Stored(msgspec.Struct, frozen=True):
    """A key of the broker's, ready to be compared."""

    record: KeyRecord
    credential: Credential
    digests: tuple[tuple[bytes, float], ...]
    """Two of them, each with the end of its time; one that nothing matches stands for none."""


class KeyRing:
    """All keys: those of the configuration and those that were made since, which `update` brings. Empty: everybody on
    this machine is `LOCAL`. Nothing here waits, and the time that a look-up takes tells nothing about the key."""

    def __init__(
        self,
        sections: Iterable[KeySection] = (),
        *,
        pepper: bytes = b"",
        limits: LimitsSection | None = None,
        access: AccessSection | None = None,
    ) -> None:
        self.limits = limits or LimitsSection()
        self.access = access or AccessSection()
        self.pepper = pepper or secrets.token_bytes(32)
        self._sections = [(_digest(section), _credential(section)) for section in sections]
        self._configured = list(self._sections)
        self._names = {known.id for _, known in self._sections}
        self._stored: dict[str, _Stored] = {}
        self._tenants: Mapping[str, Tenant] = {}
        self._nobody = _stored(KeyRecord(id="", name="", revoked=1.0), Tenant(name=""))
        self._guarded = bool(self._sections) or self.access.required
        self._houses = _houses(known for _, known in self._sections)
        self._guesses = Guesses(self.access.wrong_keys)

    def __bool__(self) -> bool:
        return self._guarded

    def update(self, records: Mapping[str, KeyRecord], tenants: Mapping[str, Tenant]) -> None:
        """Take over what the broker knows. Where there were keys once, keys are asked for until the process ends, even
        if the broker has lost them all."""
        self._tenants = tenants
        self._stored = {name: _stored(record, self.tenant(record.tenant)) for name, record in records.items()}
        self._configured = [
            (digest, msgspec.structs.replace(known, within=self.tenant(known.tenant).models))
            for digest, known in self._sections
        ]
        self._guarded = self._guarded or bool(records)
        live = [known.credential for known in self._stored.values() if known.record.state(time.time()) == "live"]
        self._houses = _houses([*(known for _, known in self._sections), *live])

    def tenant(self, name: str) -> Tenant:
        """What is said of a tenant."""
        return self._tenants.get(name) or Tenant(name=name)

    @property
    def shared(self) -> bool:
        """Whether what all feel is for administrators: by `access.shared`, or since keys have several tenants."""
        if self.access.shared != "auto":
            return self.access.shared == "yes"
        return len(self._houses) > 1

    def ended(self, key_id: str) -> bool:
        """Whether a key is revoked and its answers under way are to end with it."""
        known = self._stored.get(key_id)
        if known is None or not known.record.revoked:
            return False
        return (known.record.streams or self.access.on_revoke) == "end"

    def objection(self, credential: Credential, scope: str) -> VelesioError | None:
        """Why somebody who was let in with this credential, for what needs that scope, would be refused by now; None:
        nothing speaks against it."""
        if credential is LOCAL:
            return Unauthorized() if self else None
        known = self._stored.get(credential.id)
        if known is None:  # of the configuration, where nothing changes; or the broker has lost it
            return None if credential.id in self._names else Unauthorized()
        if known.record.revoked:
            return KeyRevoked()
        if known.record.state(time.time()) == "expired":
            return Unauthorized(EXPIRED)
        if scope and scope not in known.credential.scopes:
            return Forbidden(f"this needs a key with the scope {scope!r}, which this one has no longer")
        return None

    def seconds_left(self, credential: Credential) -> float | None:
        """Until the key ends by itself; None: it does not."""
        known = self._stored.get(credential.id)
        expires = known.credential.expires if known else credential.expires
        return max(0.0, expires - time.time()) if expires else None

    def authenticate(self, headers: Mapping[str, str], *, loopback: bool, address: str = "") -> Credential:
        """Who sends a request with these headers from an address; without keys, whatever they carry is ignored.

        Raises:
            Unauthorized: no key, a wrong key, or a caller from elsewhere where no keys are configured.
            KeyRevoked
            TooManyKeys: the address has shown too many wrong keys.
        """
        if not self:
            if loopback:
                return LOCAL
            raise Unauthorized("this server has no API keys and so serves its own machine only; configure [[keys]]")
        token = presented(headers)
        if not token:
            raise Unauthorized("Missing API Key: send it as `Authorization: Bearer KEY` or `X-Api-Key: KEY`")
        return self.admit(token, address)

    def admit(self, token: str, address: str) -> Credential:
        """The owner of a key that somebody shows.

        Raises:
            Unauthorized, KeyRevoked, TooManyKeys: as `authenticate`.
        """
        self._guesses.check(address, token)
        credential, revoked = self._look_up(token)
        if self._guesses.note(address, token, wrong=credential is None):
            log.warning("too many wrong keys: others from there are refused unseen", client=address)
        if credential is None:
            raise Unauthorized
        return _in_force(credential, revoked)

    def reopen(self, token: str) -> Credential:
        """The owner of a key that a session has kept, which nobody can have guessed.

        Raises:
            Unauthorized, KeyRevoked
        """
        credential, revoked = self._look_up(token)
        if credential is None:
            raise Unauthorized
        return _in_force(credential, revoked)

    def find(self, token: str) -> Credential | None:
        """The owner of `token`, if it is good."""
        credential, revoked = self._look_up(token)
        if credential is None or revoked or (credential.expires and credential.expires <= time.time()):
            return None
        return credential

    def _look_up(self, token: str) -> tuple[Credential | None, bool]:
        """Whose a key is, and whether it is revoked. Whatever is known of it, the same work is done: every configured
        key is compared, and two digests of one that was made since, or of nobody's."""
        found = None
        plain = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        for known, credential in self._configured:
            if hmac.compare_digest(known, plain):
                found = credential
        stored, now, matches = self._stored.get(parse(token)) or self._nobody, time.time(), False
        peppered = digest(self.pepper, token)
        for known, until in stored.digests:
            matches |= hmac.compare_digest(known, peppered) and (not until or now < until)
        if matches:
            return stored.credential, stored.record.revoked > 0
        return found, False


def _houses(credentials: Iterable[Credential]) -> frozenset[str]:
    """The tenants that have jobs made; a key for administration alone is none's."""
    return frozenset(known.tenant for known in credentials if {"text", "images"} & set(known.scopes))


def _in_force(credential: Credential, revoked: bool) -> Credential:
    if revoked:
        raise KeyRevoked
    if credential.expires and credential.expires <= time.time():
        raise Unauthorized(EXPIRED)
    return credential


def _stored(record: KeyRecord, tenant: Tenant) -> _Stored:
    credential = Credential(
        record.name,
        record.tenant,
        record.models,
        record.scopes,
        record.id,
        tenant.models,
        record.limits,
        record.expires,
        record.priority,
        record.priority_max,
    )
    digests = [(secret.digest, secret.until) for secret in record.secrets[:2]]
    digests += [(secrets.token_bytes(32), 1.0)] * (2 - len(digests))
    return _Stored(record, credential, tuple(digests))


def _credential(section: KeySection) -> Credential:
    return Credential(
        section.name,
        section.tenant,
        section.models,
        section.scopes,
        section.name,
        limits=section.limits,
        expires=section.expires.timestamp() if section.expires else 0.0,
        priority=section.priority,
        priority_max=section.priority_max,
    )


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
