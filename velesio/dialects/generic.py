"""Models whose templates have no place for functions: they are told about them, and answer with a JSON object."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from velesio.dialects.answer import Answer, Reading
from velesio.dialects.format import Format
from velesio.dialects.function import Function
from velesio.dialects.json_call import read_calls, write_call, write_list
from velesio.dialects.notation import BLANK, Notation, literal
from velesio.jobs import Trigger

_CALLS = '"tool_calls"'
_INSTRUCTIONS = """\
You can call functions. These are described here as JSON, one a line:
{functions}

To call {what}, answer with a JSON object of this form and with nothing else:
{{"tool_calls": [{{"name": "<the function's name>", "arguments": {{<its arguments>}}}}]}}
What the functions return comes as JSON objects of the form {{"tool_results": [...]}}.
If no function is needed, answer in plain text."""


class Generic(Format):
    """The whole answer is `{"tool_calls": [{"name": …, "arguments": {…}}]}`, or else content."""

    name = "json"
    parallel = False

    def talk(self, answer: Answer) -> Reading[None]:
        """Only at the begin stands a call."""
        if answer.functions and not (yield from answer.attempt(_calls(answer))):
            yield from answer.attempt(_lone_call(answer))
        yield from super().talk(answer)

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """An answer that begins like calls."""
        return (Trigger("pattern", r'^\s*(\{\s*"tool_calls")'),)

    def calls(self, notation: Notation, functions: Sequence[Function], *, parallel: bool) -> str:
        """The whole answer."""
        items = write_list([write_call(notation, function) for function in functions], parallel=parallel)
        parts = (literal("{"), BLANK, literal(f"{_CALLS}:"), BLANK, items, BLANK, literal("}"))
        return " ".join(parts)

    def instructions(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """What stands in the system's message."""
        lines = [
            json.dumps(
                {"name": each.name, "description": each.description, "parameters": each.parameters}, ensure_ascii=False
            )
            for each in functions
        ]
        return _INSTRUCTIONS.format(functions="\n".join(lines), what="one or several" if parallel else "one")

    def told(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Calls as they are to be written, results as they were announced."""
        if message.get("role") == "tool":
            result = {"name": message.get("name"), "content": message.get("content")}
            result = {key: value for key, value in result.items() if value is not None}
            return {"role": "user", "content": json.dumps({"tool_results": [result]}, ensure_ascii=False)}
        made = [call["function"] for call in message["tool_calls"]]
        calls = [{"name": each.get("name"), "arguments": each.get("arguments")} for each in made]
        written = json.dumps({"tool_calls": calls}, ensure_ascii=False)
        told = {key: value for key, value in message.items() if key != "tool_calls"}
        content = message.get("content")
        return told | {"content": f"{content}\n{written}" if content else written}


def _calls(answer: Answer) -> Reading[bool]:
    """The object with all calls."""
    yield from answer.blank()
    if not (yield from _accept_all(answer, "{", _CALLS, ":")) or not (yield from read_calls(answer)):
        return False
    yield from answer.blank()
    yield from answer.accept("}")
    return True


def _lone_call(answer: Answer) -> Reading[bool]:
    """A call, or a list of some, by itself: that is how models write it that were trained otherwise."""
    yield from answer.blank()
    return (yield from read_calls(answer))


def _accept_all(answer: Answer, *texts: str) -> Reading[bool]:
    for text in texts:
        if not (yield from answer.accept(text)):
            return False
        yield from answer.blank()
    return True
