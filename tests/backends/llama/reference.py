"""Chat templates as Hugging Face's `apply_chat_template` renders them: the same environment, set up anew here."""

import functools
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent / "templates"
FILES = sorted(FOLDER.glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class Generation(Extension):
    """The block around what an assistant says."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Any) -> Any:
        number = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(number)

    def _said(self, caller: Any) -> str:
        return caller()


@functools.cache
def compiled(source: str) -> jinja2.Template:
    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 - the local date
    return environment.from_string(source)


def rendered(source: str, messages: list[dict[str, Any]], **variables: Any) -> str:
    """The prompt; raises whatever the template raises."""
    given = {"tools": None, "documents": None, "add_generation_prompt": False, **TOKENS, **variables}
    return compiled(source).render(messages=messages, **given)


def by_transformers(source: str, messages: list[dict[str, Any]], **variables: Any) -> str:
    """The same by the library itself, which need not be installed."""
    from transformers.utils.chat_template_utils import render_jinja_template

    tools = variables.pop("tools", None)
    (prompt,), _ = render_jinja_template(
        conversations=[messages], chat_template=source, tools=tools, **TOKENS | variables
    )
    return prompt
