"""Advisories: known vulnerabilities of exact versions, by PyPI's JSON API."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

_SOURCE = "https://pypi.org/pypi"
_SECONDS = 20.0

ACCEPTED = {
    "diskcache": "unpickles its own folder, which only a cache of llama-cpp-python makes that Velesio never uses",
}
"""Packages whose advisories nobody has mended, and why they do no harm here."""

Fetch = Callable[[str], Mapping[str, Any] | None]


class Verdict(msgspec.Struct, frozen=True):
    """What is known of one version."""

    name: str
    version: str
    state: Literal["clean", "vulnerable", "unknown"]
    """`unknown`: the index tells nothing of this version."""
    advisories: tuple[str, ...] = ()
    """Their ids, with the versions that mend them."""


def verdict(name: str, version: str, fetch: Fetch) -> Verdict:
    """What the index knows of a version: by its own page, or by the package's if it is the latest."""
    found = fetch(f"{_SOURCE}/{name}/{version}/json")
    if found is None:
        found = fetch(f"{_SOURCE}/{name}/json")
        if found is None or found["info"]["version"] != version:
            return Verdict(name, version, "unknown")
    valid = [each for each in found.get("vulnerabilities") or () if not each.get("withdrawn")]
    told = tuple(f"{each['id']} (mended in {', '.join(each.get('fixed_in') or ()) or 'no release'})" for each in valid)
    return Verdict(name, version, "vulnerable" if told else "clean", told)


def fetch(url: str) -> Mapping[str, Any] | None:
    """A document of the index; None: it has none there.

    Raises:
        OSError: the index cannot be reached.
    """
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - the address is made above
            document: Mapping[str, Any] = json.load(answer)
            return document
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
