"""Models that are not known to call functions: reasoning in tags, and content."""

from velesio.dialects.format import Format


class Plain(Format):
    """Never calls."""

    name = "plain"
