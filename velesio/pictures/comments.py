"""Comments in prompts: what follows a `#` to the end of its line, as users of A1111 write them."""

import re

_COMMENT = re.compile(r"(?:^|(?<=\s))#.*(?:\n|$)", re.MULTILINE)


def without(text: str) -> str:
    """The prompt without them."""
    return _COMMENT.sub("", text)
