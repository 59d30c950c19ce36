"""The registrar, who keeps keys and tenants and tells what was used and changed, from the command line.

Talks to the broker alone, as the desk.
"""

import csv
import io
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from velesio.cli.rows import moment, printable
from velesio.cli.voice import Say, say_json, say_table, speaker
from velesio.config import Config, Limits, Scope
from velesio.errors import BadRequest
from velesio.queue import accounts
from velesio.queue.accounts import Period
from velesio.queue.audit import Audit
from velesio.queue.broker import Broker
from velesio.queue.credentials import Credentials, Issued, KeyRecord, Policy, pepper_of
from velesio.queue.tenants import Tenants

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NOTED = "Write it down: it cannot be shown again."


class Registrar:
    """Everything that can be asked for. Each answers whether it could be done, or raises a `VelesioError`."""

    def __init__(self, broker: Broker, config: Config, say: Say) -> None:
        self._broker = broker
        self._config = config
        self._say = say
        self._actor = speaker()

    async def _credentials(self) -> Credentials:
        return Credentials(self._broker, await pepper_of(self._broker, self._config.access.pepper), self._actor)

    async def create_key(self, name: str, fields: dict[str, Any], *, json: bool) -> bool:
        """Make a key and show it, once."""
        issued = await (await self._credentials()).create(KeyRecord(id="", name=name, **fields))
        self._say_issued(issued, json=json)
        return True

    async def list_keys(self, *, json: bool) -> bool:
        """The keys that were made, the oldest first."""
        records = await (await self._credentials()).all()
        if json:
            say_json(self._say, [record.described() for record in records])
            return True
        heading = ("ID", "NAME", "TENANT", "SCOPES", "MODELS", "STATE", "CREATED", "EXPIRES")
        say_table(self._say, [heading, *map(_key_row, records)])
        return True

    async def show_key(self, name: str, *, json: bool) -> bool:
        """One key, by its id or its name."""
        described = (await (await self._credentials()).find(name)).described()
        self._say_facts(described, json=json)
        return True

    async def change_key(self, name: str, fields: dict[str, Any], *, json: bool) -> bool:
        """Give a key other values of some fields; limits that are not named stay."""
        credentials = await self._credentials()
        record = await credentials.find(name)
        if "limits" in fields:
            fields |= {"limits": fields["limits"].over(record.limits)}
        self._say_facts((await credentials.change(record.id, fields)).described(), json=json)
        return True

    async def rotate_key(self, name: str, grace: float | None, *, json: bool) -> bool:
        """Give a key a new secret and show it, once."""
        credentials = await self._credentials()
        record = await credentials.find(name)
        seconds = self._config.access.grace if grace is None else grace
        self._say_issued(await credentials.rotate(record.id, seconds), json=json)
        return True

    async def revoke_keys(self, names: Sequence[str], policy: Policy) -> bool:
        """Have every gateway refuse keys within a second."""
        credentials = await self._credentials()
        for name in names:
            record = await credentials.find(name)
            await credentials.revoke(record.id, policy)
            self._say(f"{record.id} ({record.name}): revoked")
        return True

    async def list_tenants(self, *, json: bool) -> bool:
        """The tenants that somebody has described."""
        tenants = [each.described() for each in await Tenants(self._broker, self._actor).all()]
        if json:
            say_json(self._say, tenants)
            return True
        rows = [[_cell(each[name]) for name in ("name", "weight", "waiting", "models", "limits")] for each in tenants]
        say_table(self._say, [("NAME", "WEIGHT", "WAITING", "MODELS", "LIMITS"), *rows])
        return True

    async def set_tenant(self, name: str, fields: dict[str, Any], *, json: bool) -> bool:
        """Describe a tenant, or say something else of it; limits that are not named stay."""
        tenants = Tenants(self._broker, self._actor)
        known = {each.name: each for each in await tenants.all()}.get(name)
        if "limits" in fields and known is not None:
            fields |= {"limits": fields["limits"].over(known.limits)}
        self._say_facts((await tenants.change(name, fields)).described(), json=json)
        return True

    async def remove_tenant(self, name: str) -> bool:
        """Have a tenant be as the configuration says."""
        await Tenants(self._broker, self._actor).remove(name)
        self._say(f"{name}: is as the configuration says")
        return True

    async def usage(self, period: Period, first: str, last: str, wanted: dict[str, str], *, form: str) -> bool:
        """What was used, as a table, CSV or JSON."""
        try:
            begin, end = accounts.days(first, last, datetime.now(UTC), accounts.longest(self._broker, period))
        except ValueError as error:
            raise BadRequest(f"--{error}") from None
        rows = await accounts.read(self._broker, period, begin, end)
        rows = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
        cells = accounts.table(rows)
        if form == "json":
            say_json(self._say, rows)
        elif form == "csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(cells)
            self._say(text.getvalue().rstrip("\n"))
        else:
            total = accounts.table([accounts.total(rows, "total")])[1]
            say_table(self._say, [[name.upper() for name in cells[0]], *cells[1:], total])
        return True

    async def audit(self, limit: int, *, json: bool) -> bool:
        """The last changes, the latest first."""
        entries = await Audit(self._broker).recent(limit)
        if json:
            say_json(self._say, entries)
            return True
        rows = [
            (moment(entry.at), entry.actor, entry.action, entry.target, _cell(entry.difference)) for entry in entries
        ]
        say_table(self._say, [("WHEN", "WHO", "WHAT", "WHICH", "DIFFERENCE"), *rows])
        return True

    def _say_issued(self, issued: Issued, *, json: bool) -> None:
        if json:
            say_json(self._say, issued.record.described() | {"key": issued.token})
            return
        self._say(issued.token)
        self._say(f"This is the key {issued.record.id} ({issued.record.name}). {_NOTED}")

    def _say_facts(self, facts: dict[str, Any], *, json: bool) -> None:
        if json:
            say_json(self._say, facts)
            return
        for name, value in facts.items():
            is_moment = name in {"created", "expires", "revoked", "earlier_secret_until"}
            self._say(f"{name.ljust(20)} {moment(value) if is_moment else _cell(value)}")


def _key_row(record: KeyRecord) -> tuple[str, ...]:
    return (
        record.id,
        _cell(record.name),
        _cell(record.tenant),
        ",".join(record.scopes),
        ",".join(record.models),
        record.state(time.time()),
        moment(record.created),
        moment(record.expires),
    )


def _cell(value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return printable(text)


def limits_of(settings: Sequence[str]) -> Limits:
    """Limits as they are written on the command line: `requests=600`.

    Raises:
        BadRequest
    """
    given: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in Limits.__struct_fields__:
            known = ", ".join(Limits.__struct_fields__)
            raise BadRequest(f"--limit {setting}: write it as NAME=NUMBER; names are {known}")
        given[name] = value
    try:
        return msgspec.convert(given, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"--limit: {error}") from None


def scopes_of(text: str) -> tuple[Scope, ...]:
    """Scopes with commas between them.

    Raises:
        BadRequest
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return msgspec.convert(names, tuple[Scope, ...])
    except msgspec.ValidationError:
        raise BadRequest(f"--scopes {text}: known are {', '.join(get_args(Scope))}") from None


def seconds_of(text: str) -> float:
    """A time like 90, 15m, 24h or 30d, in seconds.

    Raises:
        BadRequest
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise BadRequest(f"{text!r} is no time; write it like 90, 15m, 24h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def expiry_of(text: str) -> float:
    """When a key ends: after a time like 30d, or at an ISO date; unix seconds, 0 for `never`.

    Raises:
        BadRequest
    """
    if text == "never":
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return time.time() + seconds_of(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
