"""API keys: how they are carried, compared and limited."""

import base64
import hashlib
import hmac

import pytest

from velesio.config import KeySection
from velesio.errors import ConfigError, Unauthorized
from velesio.http.access.keys import LOCAL, Credential, KeyRing, presented


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer k1"}, "k1"),
        ({"Authorization": "bearer  k1 "}, "k1"),
        ({"Authorization": "k1"}, "k1"),
        ({"X-Api-Key": "k1"}, "k1"),
        ({"Authorization": "", "X-Api-Key": "k1"}, "k1"),
        ({"Authorization": "Bearer k1", "X-Api-Key": "k2"}, "k1"),
        ({"Authorization": basic("user:k1")}, "k1"),
        ({"Authorization": basic(":k:1")}, "k:1"),
        ({"Authorization": "Basic !!!"}, ""),
        ({"Authorization": basic("no colon")}, ""),
        ({"Authorization": "Bearer"}, ""),
        ({}, ""),
    ],
)
def test_every_way_to_carry_a_key(headers: dict[str, str], key: str) -> None:
    """Bearer, bare, Basic's password, and X-Api-Key where there is no Authorization."""
    assert presented(headers) == key


def test_a_key_is_known_by_token_or_digest() -> None:
    """A section gives the token or its SHA-256; the ring finds the owner by the token alone."""
    digest = hashlib.sha256(b"two").hexdigest()
    ring = KeyRing([KeySection(name="a", token="one", tenant="x"), KeySection(name="b", sha256=digest)])
    assert ring.find("one") == Credential("a", "x", id="a")
    assert ring.find("two") == Credential("b", id="b")
    assert ring.find("three") is None
    assert ring.find(digest) is None


def test_the_ring_keeps_no_token() -> None:
    """Only digests stay in memory."""
    ring = KeyRing([KeySection(name="a", token="very-secret")])
    assert "very-secret" not in repr(vars(ring))


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A match does not end the comparison, and each goes through compare_digest."""
    compared = []
    real = hmac.compare_digest

    def spy(one: bytes, two: bytes) -> bool:
        compared.append(one)
        return real(one, two)

    ring = KeyRing([KeySection(name=str(number), token=str(number)) for number in range(5)])
    monkeypatch.setattr(hmac, "compare_digest", spy)
    assert ring.find("0") is not None
    assert len(compared) == 5 + 2  # and the two digests of nobody's key


def test_a_bad_digest_is_a_bad_configuration() -> None:
    """64 hex digits, or the start is refused."""
    for digest in ("zz", "abcd"):
        with pytest.raises(ConfigError, match="'a'"):
            KeyRing([KeySection(name="a", sha256=digest)])


def test_without_keys_only_this_machine_is_served() -> None:
    """A key that is sent anyway is ignored; callers from elsewhere are refused."""
    ring = KeyRing()
    assert not ring
    assert ring.authenticate({"Authorization": "Bearer whatever"}, loopback=True) is LOCAL
    with pytest.raises(Unauthorized, match=r"\[\[keys\]\]"):
        ring.authenticate({}, loopback=False)


def test_with_keys_this_machine_needs_one_too() -> None:
    """Missing and wrong keys are refused, in different words."""
    ring = KeyRing([KeySection(name="a", token="one")])
    with pytest.raises(Unauthorized, match="Missing"):
        ring.authenticate({}, loopback=True)
    with pytest.raises(Unauthorized, match="Invalid API Key"):
        ring.authenticate({"Authorization": "Bearer two"}, loopback=True)
    assert ring.authenticate({"X-Api-Key": "one"}, loopback=False).name == "a"


@pytest.mark.parametrize(
    ("patterns", "names", "allowed"),
    [
        (("*",), ("any",), True),
        (("smol*",), ("smollm2",), True),
        (("smol*",), ("llama", "smol"), True),
        (("smol*",), ("Smollm2",), False),
        ((), ("any",), False),
    ],
)
def test_patterns_of_models(patterns: tuple[str, ...], names: tuple[str, ...], allowed: bool) -> None:
    """As in a shell, case counts, one of the model's names is enough."""
    assert Credential("a", models=patterns).allows(*names) is allowed
