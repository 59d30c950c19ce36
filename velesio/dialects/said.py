"""A piece of what a model says."""

from typing import Literal, NamedTuple

Kind = Literal["content", "reasoning", "call"]


class Said(NamedTuple):
    """A piece of an answer."""

    kind: Kind
    text: str = ""
    """Of a call: the next piece of the JSON of its arguments."""
    call: int = -1
    """Which call of the answer, from 0."""
    id: str = ""
    name: str = ""
    """Of the function; with the first piece of a call."""
