"""Conversations as the text that a model was trained on: its own Jinja template, rendered as Hugging Face does."""

import json
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from velesio.errors import BadRequest

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For models that bring no template."""

MAX_LENGTH = 16 * 1024 * 1024
MAX_SECONDS = 5.0

_log = logging.getLogger(__name__)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's part for training; here it only stands for what it holds."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Returns the block's body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template with the model's special tokens."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        """Compiles `source`; empty: ChatML. What is wrong with it is said when it is used, since the model can
        complete texts without it."""
        if not source:
            _log.info("the model has no chat template; using chatml")
        self._tokens = {"bos_token": bos, "eos_token": eos}
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], autoescape=False
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        self._fault = ""
        try:
            self._template = environment.from_string(source or CHATML)
        except TemplateError as error:
            self._fault = f"the model's chat template cannot be compiled: {error}"
            _log.warning("%s", self._fault)

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        add_generation_prompt: bool = True,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt's text. A last message of the assistant is the begin of the answer, to be continued.

        Raises:
            BadRequest: for messages that the template refuses or that cannot be rendered within bounds.
        """
        if self._fault:
            raise BadRequest(self._fault)
        plain = [_plain(message, number) for number, message in enumerate(messages)]
        prefill = ""
        if add_generation_prompt and plain and plain[-1]["role"] == "assistant":
            prefill = plain.pop()["content"]
            if plain and plain[-1]["role"] == "assistant":
                raise BadRequest("only the last message may be an unfinished one of the assistant", param="messages")
        variables = {
            "tools": None,
            "documents": None,
            **self._tokens,
            **(arguments or {}),
            "messages": plain,
            "add_generation_prompt": add_generation_prompt,
        }
        return self._render(variables) + prefill

    def _render(self, variables: dict[str, Any]) -> str:
        pieces: list[str] = []
        length, end = 0, time.monotonic() + MAX_SECONDS
        try:
            for piece in self._template.generate(variables):
                pieces.append(piece)
                length += len(piece)
                if length > MAX_LENGTH or time.monotonic() > end:
                    raise BadRequest("the conversation is too long for the model's chat template", param="messages")
        except BadRequest:
            raise
        except RecursionError:
            raise BadRequest("the model's chat template nests too deeply", param="messages") from None
        except Exception as error:
            raise BadRequest(f"the model's chat template refused the conversation: {error}", param="messages") from None
        return "".join(pieces)


def _plain(message: dict[str, Any], number: int) -> dict[str, Any]:
    """A message whose content is text, whatever parts it came in."""
    place = f"messages[{number}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest(f"{place}: give a role: system, user or assistant", param="messages")
    return {**message, "content": _text(message.get("content"), place)}


def _text(content: Any, place: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{place}.content: expected text or a list of parts", param="messages")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise BadRequest(
                f"{place}.content: this model takes only parts of type text, not {kind!r}", param="messages"
            )
        texts.append(part["text"])
    return "\n".join(texts)


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
