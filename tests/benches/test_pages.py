"""The pages of figures: they say what the records say."""

import pytest

from benches import page_plots, page_tables, pages
from benches.page_records import read


@pytest.fixture(scope="module")
def records():
    """Those in docs/performance/."""
    return read()


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_a_page_says_what_the_records_say(page, records):
    """Every table is what `scripts/bench pages` makes of them; and there are some."""
    text = page.read_text(encoding="utf-8")
    assert pages.names(text)
    assert pages.filled(text, records, page_tables.TABLES) == text, "run scripts/bench pages"


def test_every_table_stands_somewhere():
    """And none twice."""
    found = [name for page in pages.PAGES for name in pages.names(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(page_tables.TABLES)


def test_every_plot_is_there(records):
    """Beside the records, and shown by a page."""
    text = "".join(page.read_text(encoding="utf-8") for page in pages.PAGES)
    for name in page_plots.of(records):
        assert (pages.FOLDER / f"{name}.png").exists()
        assert f"performance/{name}.png" in text


def test_a_table_takes_the_place_of_the_old_one():
    """What stands around it stays; an unknown name is an error."""
    tables = {"a table": lambda records: f"new {records}"}
    text = "before\n<!-- a table -->\nold\nolder\n<!-- end -->\nafter <!-- a comment -->\n"
    assert pages.filled(text, "records", tables) == (
        "before\n<!-- a table -->\nnew records\n<!-- end -->\nafter <!-- a comment -->\n"
    )
    with pytest.raises(KeyError):
        pages.filled("<!-- no table -->\n<!-- end -->", "records", tables)
