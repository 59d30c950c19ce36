"""Keys, tenants, usage and the audit log, as an operator sees them on the command line."""

import json
import time
from typing import Any

import pytest

from tests.queue.worker import done, text, working
from velesio.cli.registrar import Registrar, expiry_of, limits_of, scopes_of, seconds_of
from velesio.config import AccessSection, Config, Limits
from velesio.errors import BadRequest, ConfigError, NotFound
from velesio.queue.client import JobQueue
from velesio.queue.credentials import parse
from velesio.queue.limits import Spent, Terms


class Office:
    """A registrar and what it said."""

    def __init__(self, broker: Any, config: Config | None = None) -> None:
        self.said: list[str] = []
        self.registrar = Registrar(broker, config or Config(), self.said.append)

    def told(self) -> list[str]:
        """What was said since the last call."""
        said, self.said[:] = list(self.said), []
        return said

    def json(self) -> Any:
        return json.loads("\n".join(self.told()))


async def test_a_key_is_shown_once(broker: Any) -> None:
    """By `create` and `rotate` alone; lists and `show` have its id and state."""
    office = Office(broker)
    await office.registrar.create_key("my game", {"tenant": "studio", "scopes": ("text",)}, json=False)
    token, sentence = office.told()
    assert parse(token) in sentence
    await office.registrar.list_keys(json=False)
    heading, row = office.told()
    assert heading.split() == ["ID", "NAME", "TENANT", "SCOPES", "MODELS", "STATE", "CREATED", "EXPIRES"]
    assert row.split()[:6] == [parse(token), "my", "game", "studio", "text", "*"]
    await office.registrar.show_key("my game", json=True)
    shown = office.json()
    assert (shown["id"], shown["limits"], shown["state"]) == (parse(token), {}, "live")
    assert token not in json.dumps(shown)
    await office.registrar.rotate_key("my game", 60.0, json=True)
    turned = office.json()
    assert turned["key"] != token
    assert turned["earlier_secret_until"] == pytest.approx(time.time() + 60, abs=10)


async def test_a_change_leaves_the_rest_as_it_was(broker: Any) -> None:
    """Limits that are not named stay, and other keys too."""
    office = Office(broker)
    await office.registrar.create_key("a", {"limits": Limits(requests=5, images=2)}, json=False)
    await office.registrar.create_key("b", {}, json=False)
    office.told()
    await office.registrar.change_key("a", {"limits": Limits(images=0)}, json=True)
    assert office.json()["limits"] == {"requests": 5, "images": 0}
    await office.registrar.revoke_keys(["a"], "end")
    assert len(office.told()) == 1
    await office.registrar.list_keys(json=True)
    assert [(key["name"], key["state"]) for key in office.json()] == [("a", "revoked"), ("b", "live")]


async def test_a_name_must_mean_one_key(broker: Any) -> None:
    """Two of a name need the id; none is said so."""
    office = Office(broker)
    await office.registrar.create_key("a", {}, json=False)
    await office.registrar.create_key("a", {}, json=False)
    with pytest.raises(BadRequest, match="2 keys are called 'a'"):
        await office.registrar.show_key("a", json=False)
    with pytest.raises(NotFound, match="no key 'b'"):
        await office.registrar.revoke_keys(["b"], "")


async def test_another_pepper_is_refused(broker: Any) -> None:
    """Keys made with it would be good nowhere."""
    await Office(broker).registrar.create_key("a", {}, json=False)
    with pytest.raises(ConfigError, match=r"access\.pepper"):
        await Office(broker, Config(access=AccessSection(pepper="x"))).registrar.create_key("b", {}, json=False)


async def test_tenants_are_described_bit_by_bit(broker: Any) -> None:
    """What was said before stays until it is removed."""
    office = Office(broker)
    await office.registrar.set_tenant("studio", {"weight": 2.0, "limits": Limits(requests=9)}, json=False)
    office.told()
    await office.registrar.set_tenant("studio", {"limits": Limits(tokens=5)}, json=True)
    assert office.json() == {
        "name": "studio",
        "weight": 2.0,
        "waiting": None,
        "models": ["*"],
        "limits": {"requests": 9, "tokens": 5},
    }
    await office.registrar.remove_tenant("studio")
    office.told()
    await office.registrar.list_tenants(json=True)
    assert office.json() == []
    await office.registrar.audit(5, json=True)
    assert [entry["action"] for entry in office.json()] == ["tenant.remove", "tenant.change", "tenant.change"]


async def test_usage_is_a_table(broker: Any) -> None:
    """A row for each key and model of a day, and the sum; CSV and JSON tell the same."""
    office = Office(broker)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(text(tenant="studio"), terms=Terms(key="game"))
        lease = await worker.one()
        lease.spent = Spent(7, 3, 2, 0, 1500)
        await worker.leases.settle(lease, done())
    await office.registrar.usage("day", "", "", {}, form="table")
    heading, row, total = office.told()
    assert heading.split()[:5] == ["START", "KEY", "TENANT", "MODEL", "REQUESTS"]
    assert row.split()[1:] == ["game", "studio", "m", "1", "0", "7", "3", "2", "0", "1.5"]
    assert total.split() == ["total", "1", "0", "7", "3", "2", "0", "1.5"]
    await office.registrar.usage("hour", "", "", {"key": "game"}, form="json")
    assert office.json()[0]["gpu_seconds"] == 1.5
    await office.registrar.usage("day", "", "", {"key": "nobody"}, form="csv")
    assert len("\n".join(office.told()).splitlines()) == 1
    with pytest.raises(BadRequest, match="--from: expected a day"):
        await office.registrar.usage("day", "x", "", {}, form="csv")


def test_words_of_the_command_line() -> None:
    """Limits, scopes and times are read, or refused with what would be right."""
    assert limits_of(["requests=5", "gpu_seconds=1.5"]) == Limits(requests=5, gpu_seconds=1.5)
    assert scopes_of("text, admin") == ("text", "admin")
    assert [seconds_of(each) for each in ("90", "15m", "24h", "30d")] == [90, 900, 86400, 2592000]
    assert expiry_of("never") == 0.0
    assert expiry_of("2027-01-31") == 1801353600.0
    assert expiry_of("1h") == pytest.approx(time.time() + 3600, abs=10)
    for wrong in (
        lambda: limits_of(["requests"]),
        lambda: limits_of(["bananas=3"]),
        lambda: limits_of(["requests=many"]),
        lambda: scopes_of("root"),
        lambda: seconds_of("soon"),
        lambda: expiry_of("soon"),
    ):
        with pytest.raises(BadRequest):
            wrong()
