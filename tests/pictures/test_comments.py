"""Comments in prompts."""

from velesio.pictures import comments


def test_comments_end_with_their_lines():
    """A `#` after a blank or at the begin of a line begins one; inside a word it does not."""
    assert comments.without("a # b\nc\n# d\ne#f") == "a c\ne#f"
