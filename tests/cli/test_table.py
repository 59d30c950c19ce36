"""Tables for terminals."""

from velesio.cli import table


def test_columns_are_aligned() -> None:
    """Each column is as wide as its widest cell; nothing trails."""
    assert table.lines([("A", "BB"), ("long", "x")]) == ["A     BB", "long  x"]
