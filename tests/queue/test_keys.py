"""Names of keys."""

import re
from pathlib import Path

from velesio.queue.keys import PERMANENT

DOCS = Path(__file__).parents[2] / "docs" / "queue.md"


def test_the_docs_name_what_stays_for_ever() -> None:
    """The table of keys says `for ever` of exactly those that have no time to live."""
    rows = [line.split("|") for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = {name for row in rows if "for ever" in row[-2] for name in re.findall(r"`(\w+)`", row[1])}
    assert named == PERMANENT
