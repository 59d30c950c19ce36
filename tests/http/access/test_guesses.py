"""Guesses: how many different wrong keys an address may try, and whom that leaves alone."""

import secrets

import pytest

from tests.http.conftest import Site, StartSite
from velesio.config import AccessSection, KeySection, ServerSection
from velesio.errors import TooManyKeys
from velesio.http.access.guesses import Guesses, holder_of


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tried(guesses: Guesses, address: str, token: str, *, wrong: bool = True) -> float:
    """Shows a key; the seconds that it has to wait, 0 if it was looked at."""
    try:
        guesses.check(address, token)
    except TooManyKeys as error:
        return error.retry_after or -1.0
    guesses.note(address, token, wrong=wrong)
    return 0.0


def test_an_address_has_its_share_and_no_more() -> None:
    """Of different wrong keys in a minute; then one more each time that a part of the minute has passed."""
    clock = Clock()
    guesses = Guesses(3, clock)
    assert [tried(guesses, "192.0.2.1", f"wrong-{number}") for number in range(3)] == [0, 0, 0]
    assert tried(guesses, "192.0.2.1", "one more") == pytest.approx(20)
    clock.now += 15
    assert tried(guesses, "192.0.2.1", "one more") == pytest.approx(5)
    clock.now += 5
    assert tried(guesses, "192.0.2.1", "one more") == 0
    assert tried(guesses, "192.0.2.1", "and another") == pytest.approx(20)
    clock.now += 60
    assert [tried(guesses, "192.0.2.1", f"later-{number}") > 0 for number in range(4)] == [False, False, False, True]


def test_the_same_wrong_key_counts_once() -> None:
    """A program that asks again and again with an old key locks nobody out, itself included."""
    guesses = Guesses(2, Clock())
    assert {tried(guesses, "192.0.2.1", "old") for _ in range(100)} == {0}
    assert tried(guesses, "192.0.2.1", "mistyped") == 0
    assert tried(guesses, "192.0.2.1", "third") > 0
    assert tried(guesses, "192.0.2.1", "old") == 0


def test_keys_that_were_right_from_there_go_on() -> None:
    """They cost nothing; but no key that was not shown before is looked at, or every answer would be a guess."""
    guesses = Guesses(1, Clock())
    for number in range(100):
        assert tried(guesses, "192.0.2.1", f"right-{number}", wrong=False) == 0
    assert tried(guesses, "192.0.2.1", "wrong") == 0
    assert tried(guesses, "192.0.2.1", "right-7", wrong=False) == 0
    assert tried(guesses, "192.0.2.1", "right-100", wrong=False) > 0
    assert tried(guesses, "192.0.2.2", "right-100", wrong=False) == 0


@pytest.mark.parametrize(
    ("address", "holder"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("::1", "::"),
    ],
)
def test_an_ipv6_address_is_as_good_as_its_subnet(address: str, holder: str) -> None:
    """Whoever has one of them has them all."""
    assert holder_of(address) == holder


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes from however many addresses."""
    monkeypatch.setattr("velesio.http.access.guesses._ADDRESSES", 10)
    monkeypatch.setattr("velesio.http.access.guesses._KEYS", 20)
    guesses = Guesses(2, Clock())
    for number in range(100):
        tried(guesses, f"192.0.2.{number}", "a")
        tried(guesses, f"192.0.2.{number}", "b")
    assert (len(guesses._spent), len(guesses._shown)) == (10, 20)


def test_it_says_once_when_a_share_is_used_up() -> None:
    """For the log, and not for each refusal."""
    guesses = Guesses(2, Clock())
    told = [guesses.note("192.0.2.1", token, wrong=True) for token in ("a", "b", "a", "b")]
    assert told == [False, True, False, False]


KEYS = [KeySection(name="game", token="the key of the game"), KeySection(name="other", token="another right key")]


@pytest.fixture
async def strict(start_site: StartSite) -> Site:
    return await start_site(keys=KEYS, access=AccessSection(wrong_keys=3), specs=())


async def use_up(site: Site, path: str = "/v1/models") -> None:
    """Tries wrong keys until they are refused unseen."""
    for _ in range(3):
        assert (await site.get(path, X_Api_Key=secrets.token_hex(16))).status == 401


@pytest.mark.parametrize("path", ["/v1/models", "/api/tags", "/slots", "/v1/messages/batches", "/admin/keys"])
async def test_every_route_refuses_unseen_keys_then(strict: Site, path: str) -> None:
    """With 429 and the seconds to wait, in the family's shape, right keys among them; those that were shown go on."""
    assert (await strict.get("/v1/models", X_Api_Key="the key of the game")).status == 200
    await use_up(strict)
    for key in (secrets.token_hex(16), "another right key"):
        answer = await strict.get(path, X_Api_Key=key)
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        assert "too many wrong API keys" in answer.body.decode()
    assert (await strict.get("/v1/models", X_Api_Key="the key of the game")).status == 200
    assert (await strict.get("/v1/models")).status == 401


async def test_the_form_counts_as_every_route_does(strict: Site) -> None:
    """What was tried at one is not tried anew at the other; the page says how long to wait."""
    for _ in range(3):
        body = f"key={secrets.token_hex(16)}".encode()
        assert (await strict.post("/sign-in", body, Accept="text/html")).status == 401
    refused = await strict.post("/sign-in", b"key=another+right+key", Accept="text/html")
    assert (refused.status, "Retry-After" in refused.headers) == (429, True)
    assert b'role="alert"' in refused.body
    assert (await strict.get("/v1/models", X_Api_Key="another right key")).status == 429


async def test_what_needs_no_key_is_open_to_everybody(strict: Site) -> None:
    """Health checks that bring an old key are answered, and tell nothing about others."""
    await use_up(strict)
    for path in ("/livez", "/openapi.json", "/"):
        answer = await strict.get(path, X_Api_Key="another right key", Accept="application/json")
        assert answer.status == 200
    assert "models" not in answer.json()


async def test_a_proxys_clients_have_a_share_each(start_site: StartSite) -> None:
    """Where the proxy is trusted to tell them apart."""
    server = ServerSection(trusted_proxies=("127.0.0.0/8",))
    site = await start_site(keys=KEYS, access=AccessSection(wrong_keys=1), server=server, specs=())
    wrong = {"X_Api_Key": "wrong", "X_Forwarded_For": "192.0.2.7"}
    assert (await site.get("/v1/models", **wrong)).status == 401
    right = {"X_Api_Key": "another right key"}
    assert (await site.get("/v1/models", **right, X_Forwarded_For="192.0.2.7")).status == 429
    assert (await site.get("/v1/models", **right, X_Forwarded_For="192.0.2.8")).status == 200


async def test_zero_is_no_limit(start_site: StartSite) -> None:
    """For those whose keys are all random."""
    site = await start_site(keys=KEYS, access=AccessSection(wrong_keys=0), specs=())
    for _ in range(50):
        assert (await site.get("/v1/models", X_Api_Key=secrets.token_hex(16))).status == 401
