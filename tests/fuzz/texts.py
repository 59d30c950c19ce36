"""Texts that people write: prompts of pictures, infotexts, and the templates and messages of chats."""

import math
from collections.abc import Iterator
from typing import Any

from tests.fuzz.source import Source
from tests.fuzz.target import Target
from velesio.backends.diffusion import prompt
from velesio.backends.llama import messages
from velesio.backends.llama.template import MAX_LENGTH, Template
from velesio.errors import BadRequest
from velesio.pictures import infotext
from velesio.pictures.comments import without

_PROMPT = (
    *(
        "a",
        "cat ",
        " ",
        ",",
        "(",
        ")",
        "[",
        "]",
        ":",
        "|",
        "\\",
        "AND",
        " AND ",
        "BREAK",
        "<lora:x:",
        "<",
        ">",
        "=",
        "#",
    ),
    *("0.5", "1", "-1", "1e9", "nan", "inf", "9" * 20, "\n", "é", "\U0001f98a", "\0", "te", "dyn", "unet"),
)
_STEPS = 20


def _read_prompt(data: bytes) -> None:
    source = Source(data)
    before = source.number(30)
    text, tags = prompt.tags(without(source.text(_PROMPT)))
    assert all(math.isfinite(tag.text) and math.isfinite(tag.unet) for tag in tags)
    for wish in prompt.wishes(text):
        assert math.isfinite(wish.weight)
        spans = prompt.spans(wish.text, _STEPS, before=before)
        ends = [span.until for span in spans]
        assert ends == sorted(set(ends))
        assert ends[-1] == _STEPS
        for span in spans[:3]:
            parts = prompt.parts(span.text)
            assert parts
            assert all(math.isfinite(part.weight) for part in parts)
            assert sum(len(part.text) for part in parts) <= len(span.text) + len(prompt.BREAK)


_INFO = (
    *("Steps: 20", "Sampler: Euler a", "Seed: 1", "Size: 64x64", "Negative prompt: ", "Model: x", ", ", ": ", ":", ","),
    *("\n", '"', '\\"', "\\", "a", " ", "-", "/", "ControlNet 0: ", "{", "}", "9", "é", "\ud800"),
)


def _read_infotext(data: bytes) -> None:
    text = Source(data).text(_INFO)
    found = infotext.parse(text)
    assert sum(map(len, found.with_defaults().values())) >= 0
    written = infotext.write(found.prompt, found.negative_prompt, found.parameters)
    assert infotext.parse(written).prompt.split() == infotext.parse(text).prompt.split() or len(found.parameters) < 3


_TEMPLATE = (
    *(
        "{{ ",
        " }}",
        "{% for i in ",
        "range(9)",
        " %}",
        "{% endfor %}",
        "{% if ",
        "{% endif %}",
        "{% set ",
        " = ",
        "x",
        "ns",
    ),
    *(
        "ns.x",
        "ns = namespace(x='ab')",
        "messages",
        "messages[0]",
        ".content",
        ".role",
        "['content']",
        "tools",
        "loop.index",
    ),
    *(
        " ~ ",
        " + ",
        " * ",
        " ** ",
        " % ",
        " - ",
        " // ",
        "|",
        "|tojson",
        "|join",
        "|upper",
        "|string",
        "|list",
        "|format(",
    ),
    *(
        "|center(",
        "|indent(",
        "|replace('a','bbbb')",
        "|batch(",
        "|slice(",
        "|wordwrap(",
        "|round(",
        "|pprint",
        "|safe",
        "|trim",
    ),
    *(
        "|map('upper')",
        "|sum",
        "|urlize",
        "|xmlattr",
        "lipsum(",
        "cycler(",
        "dict(",
        "joiner(",
        "range(",
        "raise_exception(",
    ),
    *(
        "strftime_now('%Y')",
        ".ljust(",
        ".zfill(",
        ".format(",
        ".join(",
        ".split(",
        ".__class__",
        ".__mro__",
        ".__globals__",
    ),
    *(
        "self",
        "caller()",
        "{% macro m() %}",
        "{{ m() }}",
        "{% endmacro %}",
        "{% break %}",
        "{% generation %}",
        "{% endgeneration %}",
    ),
    *(
        "0",
        "1",
        "9",
        "99999999",
        "10",
        "-1",
        "'ab'",
        "'%9999999d'",
        "'{:>99999999}'",
        "[",
        "]",
        "(",
        ")",
        ",",
        "{",
        "}",
        ":",
        "none",
    ),
    *(
        "[x, x]",
        "{% set ns.x = ns.x ~ ns.x %}",
        "{% set ns.x = ns.x * 2 %}",
        "{% set ns.x = [ns.x, ns.x] %}",
        "{% else %}",
        "a",
        "\n",
    ),
)
_NAMES = ("role", "content", "tool_calls", "function", "name", "arguments", "id", "type", "text", "tool_call_id", "é")
_WORDS = (
    "a",
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "<|im_start|>",
    "{{",
    "{%",
    "}}",
    "\n",
    "é",
    "\ud800",
    "\0",
    "{}",
    "",
)
_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def _leaf(source: Source) -> Any:
    return source.pick((source.text(_WORDS, 6), None, True, 1, -0.5, 2**70, [], {}))


def _render(data: bytes) -> None:
    source = Source(data)
    conversation = [{"role": "user", "content": source.text(_WORDS, 5)}]
    text = Template(source.text(_TEMPLATE)).render({"messages": conversation, "tools": _TOOLS, "bos_token": "<s>"})
    assert len(text) <= MAX_LENGTH


def _read_messages(data: bytes) -> None:
    source = Source(data)
    given = [source.json(_leaf, _NAMES) for _ in range(source.number(4))]
    found = messages.plain(given)
    for change in (messages.typed, messages.without_system, messages.to_objects, messages.to_texts):
        change(found)
    messages.with_short_ids(found, 9)
    _CHATML.render({"messages": messages.to_texts(found), "tools": _TOOLS, "add_generation_prompt": True})


_CHATML = Template(
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls %}{{ call.function.name }}{{ call.function.arguments|tojson }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _spread() -> Iterator[bytes]:
    """Bytes that pick each word once."""
    for start in range(0, 250, 10):
        yield bytes((0, 30, *(part for number in range(start, start + 10) for part in (number, 0))))
    yield bytes((0, 9, *(part for number in range(10) for part in (number, 255, 1, 200, 0))))


TARGETS = (
    Target("prompt", _read_prompt, (BadRequest,), _spread),
    Target("infotext", _read_infotext, seeds=_spread),
    Target("template", _render, (BadRequest,), _spread),
    Target("messages", _read_messages, (BadRequest,), _spread),
)
