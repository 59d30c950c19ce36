"""Operations: each route as data, beside its handler, for docs/api and the OpenAPI document.

A family's module names its operations in `API`; `velesio.http.reference` collects them by page. `example` and `answer`
are made by the route's own writer, so that they cannot grow old.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from velesio.errors import (
    BadRequest,
    Forbidden,
    ModelNotFound,
    NoWorker,
    QueueFull,
    TooMany,
    TooManyKeys,
    Unauthorized,
    VelesioError,
)
from velesio.http.fields import Field, Fields

OF_EVERY_ROUTE: tuple[type[VelesioError], ...] = (BadRequest, Unauthorized, Forbidden, TooManyKeys)
OF_EVERY_JOB: tuple[type[VelesioError], ...] = (*OF_EVERY_ROUTE, ModelNotFound, TooMany, NoWorker, QueueFull)


class Group(msgspec.Struct, frozen=True):
    """Fields that several operations share; a page shows them once."""

    name: str
    fields: Fields
    note: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a method does at some paths that mean the same."""

    method: str
    paths: tuple[str, ...]
    """As the router has them: `/slots/{id}`."""
    summary: str
    """One sentence in Markdown."""
    fields: Fields = {}
    """Of the JSON body; those of the same name in `groups` do not count."""
    groups: tuple[Group, ...] = ()
    query: Mapping[str, str] = {}
    """Parameters of the address, with a note each."""
    body: str = "application/json"
    """Media type of the request's body."""
    lists: bool = False
    """Whether the body is a list of objects with these fields."""
    notes: str = ""
    """What else is worth knowing, in Markdown."""
    example: Mapping[str, Any] | list[Any] | None = None
    """A body."""
    answer: Callable[[], Any] | None = None
    """What it may answer to that."""
    answers: Any = dict[str, Any]
    """Type of the answer, as msgspec makes schemas from it; None: it is a stream in any case."""
    nullable: tuple[str, ...] = ()
    """Keys of the answer, at any depth, whose value may be null instead of what the example has."""
    statuses: tuple[int, ...] = (200,)
    """Those that it answers with; 204 is without a body."""
    streams: str = ""
    """Media type of streamed answers; empty: there are none."""
    files: tuple[str, ...] = ()
    """Media types of answers that are neither JSON nor streams: pages, files."""
    public: bool = False
    """Whether it needs no key."""
    errors: tuple[type[VelesioError], ...] = OF_EVERY_JOB

    @property
    def every_field(self) -> Fields:
        """Those of its groups as well."""
        merged: dict[str, Field] = {}
        for group in self.groups:
            merged |= group.fields
        return merged | dict(self.fields)
