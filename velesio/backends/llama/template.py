"""Jinja as Hugging Face renders chat templates, in a sandbox, with bounds on time and size."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError

from velesio.backends.llama.sandbox import MAX_LENGTH, TICK, Environment, bounded
from velesio.errors import BadRequest

MAX_SECONDS = 5.0


class Template:
    """A compiled template."""

    def __init__(self, source: str) -> None:
        """Raises BadRequest if it cannot be compiled."""
        environment = Environment()
        environment.filters["tojson"] = bounded("tojson", _tojson)
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        self.source = source
        try:
            self._template: JinjaTemplate = environment.from_string(source)
        except Exception as error:  # what Jinja lets through, Python's own compiler may refuse
            raise BadRequest(f"the model's chat template cannot be compiled: {error!r:.1000}") from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text.

        Raises:
            BadRequest: the template refuses the variables, fails, or does not end within bounds.
        """
        pieces: list[str] = []
        length, end = 0, time.monotonic() + MAX_SECONDS

        def tick() -> str:
            if time.monotonic() > end:
                raise _too_long()
            return ""

        try:
            for piece in self._template.generate({**variables, TICK: tick}):
                pieces.append(piece)
                length += len(piece)
                if length > MAX_LENGTH:
                    raise _too_long()
        except BadRequest:
            raise
        except RecursionError:
            raise BadRequest("the model's chat template nests too deeply", param="messages") from None
        except Exception as error:
            raise BadRequest(
                f"the model's chat template refused the conversation: {error!s:.1000}", param="messages"
            ) from None
        return "".join(pieces)


def _too_long() -> BadRequest:
    return BadRequest("the conversation is too long for the model's chat template", param="messages")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as templates expect it: characters stay themselves, nothing is escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005 - templates tell the model the local date
