"""Pages: the tables and plots of docs/performance.md and docs/planning.md, made from the records in docs/performance/.

A table stands between `<!-- NAME -->` and `<!-- end -->`; `scripts/bench pages` puts there what the records say, and a
test compares, so that no figure of a page drifts from what was measured.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping

from benches import page_plots, page_tables, plots
from benches.page_records import FOLDER, Records, read
from benches.venvs import ROOT

PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "planning.md")
_BLOCK = re.compile(r"(<!-- (?P<name>[\w ,]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this has."""
    parser.add_argument("--check", action="store_true", help="write nothing; the status is 1 if a page is out of date")
    parser.add_argument("--no-plots", action="store_true", help="leave the pictures as they are")


def run(options: argparse.Namespace) -> int:
    """Brings the pages up to date."""
    records = read()
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        renewed = filled(text, records, page_tables.TABLES)
        if renewed != text:
            stale.append(page.name)
            if not options.check:
                page.write_text(renewed, encoding="utf-8")
    print(f"{'out of date' if options.check else 'renewed'}: {', '.join(stale) or 'none'}")
    if options.check:
        return int(bool(stale))
    if not options.no_plots and (python := plots.prepare(install=True)):
        for name, plot in page_plots.of(records).items():
            plots.draw(python, plot, FOLDER / f"{name}.png")
            print(f"drawn: {name}.png", file=sys.stderr)
    return 0


def filled(text: str, records: Records, tables: Mapping[str, Callable[[Records], str]]) -> str:
    """A page with the tables that the records make.

    Raises:
        KeyError: there is no table of that name.
    """

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}{tables[found['name']](records)}\n{found[3]}"

    return _BLOCK.sub(table, text)


def names(text: str) -> list[str]:
    """Of the tables that stand in a page."""
    return [found["name"] for found in _BLOCK.finditer(text)]
