"""Addresses that clients name: which are reached, and which stand for something private."""

import pytest

from velesio.errors import Forbidden
from velesio.http.addresses import allowed, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:a00:1::1",
        "localhost",
        "",
    ],
)
def test_private_addresses_are_known_in_all_their_clothes(address: str) -> None:
    """Loopback, private, link-local, shared, multicast; mapped, translated and tunnelled; and what is no address."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_known(address: str) -> None:
    """What the internet can reach as well is no secret of this machine's."""
    assert is_public(address)


HOSTS = ("hooks.example.org", "*.example.net", "ports.example.org:8443", "any.example.org:*", "8.8.8.8")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/path?x=1#part",
        "https://HOOKS.example.org.",
        "https://hooks.example.org:443/",
        "https://a.b.example.net/",
        "https://ports.example.org:8443/",
        "https://any.example.org:1/",
        "https://8.8.8.8/",
    ],
)
def test_an_allowed_address_is_one_that_the_list_names(url: str) -> None:
    """By name, by a star for all names below, with the usual port or the one that stands there."""
    assert allowed(url, HOSTS, private=False, option="x").fragment == ""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://hooks.example.org/", "only https"),
        ("ftp://hooks.example.org/", "only https"),
        ("file:///etc/passwd", "whole address"),
        ("//hooks.example.org/", "whole address|only https"),
        ("hooks.example.org", "whole address"),
        ("https:///x", "whole address|cannot|can be read"),
        ("https://user@hooks.example.org/", "name or password"),
        ("https://hooks.example.org@evil.example/", "name or password"),
        ("https://evil.example/hooks.example.org", "not allowed"),
        ("https://hooks.example.org.evil.example/", "not allowed"),
        ("https://evilhooks.example.org/", "not allowed"),
        ("https://example.net/", "not allowed"),
        ("https://.example.net/", "not allowed|can be read"),
        ("https://hooks.example.org:8443/", "'hooks.example.org:8443' is not allowed"),
        ("https://ports.example.org/", "not allowed"),
        ("https://127.0.0.1/", "not allowed"),
        ("https://2130706433/", "not allowed"),
        ("https://hooks.example.org\\@evil.example/", "backslashes"),
        ("https://hooks.example.org/\r\nX: y", "printable"),
        ("https://hooks.example.org:99999/", "can be read|whole address"),
        ("https://[::1", "can be read"),
        ("https://hooks.example.org/" + "x" * 3000, "2048"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(url: str, said: str) -> None:
    """No spelling of a URL gets past the list; the refusal names the option."""
    with pytest.raises(Forbidden, match=said):
        allowed(url, HOSTS, private=False, option="webhooks.hosts")


def test_private_literals_need_more_than_the_list() -> None:
    """A star does not open what is private; `private` does, and plain HTTP with it."""
    with pytest.raises(Forbidden, match="private"):
        allowed("https://[::1]/", ("*",), private=False, option="x")
    with pytest.raises(Forbidden, match="private"):
        allowed("https://169.254.169.254/latest/meta-data", ("*",), private=False, option="x")
    assert allowed("http://127.0.0.1:8080/x", ("127.0.0.1:*",), private=True, option="x").port == 8080
    assert allowed("http://[::1]:8080/x", ("[::1]:8080",), private=True, option="x").host == "::1"
