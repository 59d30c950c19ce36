"""What the index says of known vulnerabilities."""

from collections.abc import Mapping
from typing import Any

from release.advisories import Fetch, Verdict, verdict

BAD = {"id": "PYSEC-1", "fixed_in": ["1.2"], "withdrawn": None}


def index(pages: Mapping[str, Any]) -> Fetch:
    return lambda url: pages.get(url.partition("/pypi/")[2])


def test_a_version_has_a_page_of_its_own() -> None:
    """With what is known of it; what was withdrawn does not count."""
    gone = BAD | {"withdrawn": "2026-01-01"}
    pages = {"a/1.0/json": {"vulnerabilities": [BAD, gone]}, "b/1.0/json": {"vulnerabilities": [gone]}}
    assert verdict("a", "1.0", index(pages)) == Verdict("a", "1.0", "vulnerable", ("PYSEC-1 (mended in 1.2)",))
    assert verdict("b", "1.0", index(pages)).state == "clean"


def test_the_latest_version_is_that_of_the_package() -> None:
    """Where versions have no pages, as on mirrors, the package's own page tells of the latest, and of no other."""
    pages = {"a/json": {"info": {"version": "2.0"}, "vulnerabilities": []}}
    assert verdict("a", "2.0", index(pages)).state == "clean"
    assert verdict("a", "1.0", index(pages)).state == "unknown"
    assert verdict("b", "1.0", index(pages)).state == "unknown"
