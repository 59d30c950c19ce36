"""Credentials: API keys that are made while the server runs. The broker has hashes only; a secret is shown once."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from velesio.config import Limits, Scope, Urgency
from velesio.errors import BadRequest, ConfigError, NotFound
from velesio.queue.broker import Broker
from velesio.queue.entries import Table

KEYS = "keys"
"""The table's name at the broker."""
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID = "0123456789abcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"vk_([0-9a-z]{10})_([0-9A-Za-z]{43})")
_CHECK = b"velesio pepper"

Policy = Literal["", "finish", "end"]


class Secret(msgspec.Struct, frozen=True):
    """What is kept of a secret."""

    digest: bytes
    """HMAC-SHA256 of the whole key under the pepper."""
    until: float = 0.0
    """Unix seconds at which it ends; 0: with the key."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key. Times are unix seconds, 0 for never."""

    id: str
    name: str
    tenant: str = "default"
    scopes: tuple[Scope, ...] = ("text", "images")
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    created: float = 0.0
    expires: float = 0.0
    revoked: float = 0.0
    streams: Policy = ""
    """What becomes of the answers under way when it is revoked; empty: as `access.on_revoke` says."""
    priority: Urgency = "normal"
    """Of its requests, unless they say another."""
    priority_max: Urgency = "normal"
    """What they may say at most."""
    secrets: tuple[Secret, ...] = ()
    """The latest first; two at most."""

    def state(self, now: float) -> Literal["live", "revoked", "expired"]:
        """Whether it is good."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= now else "live"

    def described(self) -> dict[str, Any]:
        """What may be told of it."""
        now = time.time()
        earlier = [secret.until for secret in self.secrets if secret.until > now]
        return {
            "id": self.id,
            "name": self.name,
            "tenant": self.tenant,
            "scopes": list(self.scopes),
            "models": list(self.models),
            "limits": {
                name: value for name in Limits.__struct_fields__ if (value := getattr(self.limits, name)) is not None
            },
            "priority": self.priority,
            "priority_max": self.priority_max,
            "state": self.state(now),
            "created": self.created,
            "expires": self.expires or None,
            "revoked": self.revoked or None,
            "earlier_secret_until": max(earlier) if earlier else None,
        }


class Issued(msgspec.Struct, frozen=True):
    """A key with a new secret."""

    record: KeyRecord
    token: str
    """Told once; nobody can find it out later."""


def parse(token: str) -> str:
    """The id in a key of this kind; empty: it is none."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else ""


def digest(pepper: bytes, token: str) -> bytes:
    """What is kept of a key."""
    return hmac.digest(pepper, token.encode("utf-8", "surrogateescape"), "sha256")


def new_token(key_id: str) -> str:
    """`vk_`, the id and 32 random bytes in base 62."""
    number, letters = int.from_bytes(secrets.token_bytes(32)), ""
    for _ in range(43):
        number, digit = divmod(number, 62)
        letters = _DIGITS[digit] + letters
    return f"vk_{key_id}_{letters}"


async def pepper_of(broker: Broker, configured: str = "") -> bytes:
    """The secret that goes into every digest: the configured one, or one that the broker keeps.

    Raises:
        ConfigError: the keys of this installation were made with another one.
        BrokerUnavailable
    """
    key = f"{broker.keys.root}pepper"
    if not configured:
        await broker.command("HSETNX", key, "pepper", secrets.token_bytes(32))
    pepper = configured.encode() or await broker.command("HGET", key, "pepper")
    check = hmac.digest(pepper, _CHECK, "sha256")
    await broker.command("HSETNX", key, "check", check)
    if not hmac.compare_digest(await broker.command("HGET", key, "check"), check):
        raise ConfigError(
            "access.pepper is not the one that this installation's keys were made with: give every gateway, and the "
            "commands that make keys, the same"
        )
    return bytes(pepper)


class Credentials:
    """The keys of one installation, as whoever administers them sees them. `actor` is who does."""

    def __init__(self, broker: Broker, pepper: bytes, actor: str) -> None:
        self._pepper = pepper
        self._actor = actor
        self._table = Table(broker, KEYS, KeyRecord)

    async def all(self) -> list[KeyRecord]:
        """Every key, the oldest first; revoked ones too."""
        return sorted((await self._table.all()).values(), key=lambda record: (record.created, record.id))

    async def find(self, name: str) -> KeyRecord:
        """The key with that id, or the only one with that name.

        Raises:
            NotFound, BadRequest: there is none; there are several.
        """
        records = await self._table.all()
        if name in records:
            return records[name]
        named = [record for record in records.values() if record.name == name]
        live = [record for record in named if not record.revoked] or named
        if not live:
            raise NotFound(f"there is no key {name!r}; `velesio keys list` has them")
        if len(live) > 1:
            raise BadRequest(
                f"{len(live)} keys are called {name!r}: {', '.join(each.id for each in live)}; give the id"
            )
        return live[0]

    async def create(self, record: KeyRecord) -> Issued:
        """Make a key like `record`, with an id and a secret of its own."""
        key_id = "".join(secrets.choice(_ID) for _ in range(10))
        token = new_token(key_id)
        made = msgspec.structs.replace(
            record, id=key_id, created=time.time(), revoked=0.0, secrets=(Secret(digest(self._pepper, token)),)
        )

        def place(old: KeyRecord | None) -> KeyRecord:
            if old is not None:
                raise BadRequest("that id is taken; try again")
            return made

        await self._alter(key_id, "key.create", place)
        return Issued(made, token)

    async def change(self, key_id: str, changes: Mapping[str, Any]) -> KeyRecord:
        """Give a key other values of some fields.

        Raises:
            NotFound
        """
        return await self._alter(
            key_id, "key.change", lambda old: msgspec.structs.replace(_there(old, key_id), **changes)
        )

    async def rotate(self, key_id: str, grace: float) -> Issued:
        """Give a key a new secret; the last one stays good for `grace` s.

        Raises:
            NotFound, BadRequest: there is no such key; it is revoked.
        """
        token = new_token(key_id)
        fresh = Secret(digest(self._pepper, token))

        def turn(old: KeyRecord | None) -> KeyRecord:
            record = _there(old, key_id)
            if record.revoked:
                raise BadRequest(f"the key {key_id} is revoked; create another one")
            now = time.time()
            last = [Secret(each.digest, now + grace) for each in record.secrets[:1] if grace > 0]
            return msgspec.structs.replace(record, secrets=(fresh, *last))

        return Issued(await self._alter(key_id, "key.rotate", turn), token)

    async def revoke(self, key_id: str, streams: Policy = "") -> KeyRecord:
        """Have every gateway refuse a key within a second. Once more does no harm.

        Raises:
            NotFound
        """

        def end(old: KeyRecord | None) -> KeyRecord:
            record = _there(old, key_id)
            return msgspec.structs.replace(record, revoked=record.revoked or time.time(), streams=streams)

        return await self._alter(key_id, "key.revoke", end)

    async def _alter(self, key_id: str, action: str, change: Callable[[KeyRecord | None], KeyRecord]) -> KeyRecord:
        altered = await self._table.alter(key_id, change, actor=self._actor, action=action, told=_for_audit)
        assert altered is not None  # noqa: S101 - narrows for the type checker: `change` makes one
        return altered


def _there(record: KeyRecord | None, key_id: str) -> KeyRecord:
    if record is None:
        raise NotFound(f"there is no key {key_id!r}")
    return record


def _for_audit(record: KeyRecord) -> dict[str, Any]:
    told = record.described()
    del told["state"]
    return told | {"secrets": _numbers(record.secrets)}


def _numbers(kept: Sequence[Secret]) -> list[str]:
    """Which secrets they are, without telling any: the beginning of a digest's digest."""
    return [hashlib.sha256(secret.digest).hexdigest()[:8] for secret in kept]
