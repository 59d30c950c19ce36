"""Conversations as the text that a model was trained on: its own template, given what it can do with it."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

from velesio import dialects
from velesio.backends.llama.abilities import Abilities, find
from velesio.backends.llama.messages import plain, to_objects, to_texts, typed, with_short_ids, without_system
from velesio.backends.llama.template import Template
from velesio.dialects import Format, Function
from velesio.errors import BadRequest

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For models that bring no template."""

_SENTINEL = "\uf8ff7e1e5\uf8ff"
"""Marks where the begun answer ends; nobody writes this."""

_log = logging.getLogger(__name__)

Message = dict[str, Any]


class Rendered(NamedTuple):
    """A prompt, and how it ends."""

    text: str
    prefix: str = ""
    """What of its end belongs to the answer."""
    thinks: bool = False
    """Whether the answer may begin with reasoning, or with `prefix` has begun with it."""


class ChatTemplate:
    """A model's template with the model's special tokens."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "", tool_source: str = "") -> None:
        """Compiles `source`, or ChatML if it is empty; `tool_source` is another one for conversations with functions.
        What is wrong with it is said when it is used, since the model can complete texts without it."""
        if not source:
            _log.info("the model has no chat template; using chatml")
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._fault: BadRequest | None = None
        self._with_tools: ChatTemplate | None = None
        try:
            self._template = Template(source or CHATML)
            if tool_source:
                self._with_tools = ChatTemplate(tool_source, bos=bos, eos=eos)
        except BadRequest as error:
            self._fault = error
            _log.warning("%s", error.message)

    @cached_property
    def abilities(self) -> Abilities:
        """What the template can do."""
        return find(lambda messages, tools: self._try(messages, tools, add_generation_prompt=False))

    @cached_property
    def _native(self) -> Format:
        return dialects.detect(self._template.source)

    def format(self, functions: Sequence[Function]) -> Format:
        """What the answer is written in, if these functions may be called."""
        if not functions:
            return self._native
        if self._with_tools is not None:
            return self._with_tools.format(functions)
        # A template that tells of functions in a way that is not known here gets none: nobody could read the answer.
        knows = self.abilities.tools and self._native.name != dialects.PLAIN
        return self._native if knows else dialects.FORMATS[dialects.GENERIC]

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        arguments: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        parallel: bool | None = None,
        continue_final: bool | None = None,
    ) -> Rendered:
        """The prompt. A last message of the assistant is the begin of the answer, to be continued; with
        `continue_final` False it is a message like others. `arguments` are variables of the template.

        Raises:
            BadRequest: for messages that the template refuses or that cannot be rendered within bounds.
        """
        if self._fault is not None:
            raise self._fault
        if tools and self._with_tools is not None:
            return self._with_tools.render(
                messages,
                add_generation_prompt=add_generation_prompt,
                arguments=arguments,
                tools=tools,
                parallel=parallel,
                continue_final=continue_final,
            )
        functions = list(dialects.functions_of(tools).values())
        form = self.format(functions)
        fitting = self._fitting(plain(messages), form, functions, parallel=parallel)
        native = list(tools) if functions and form is self._native else None
        variables = dict(arguments or {})
        if _is_begun(fitting, add_generation_prompt=add_generation_prompt, continue_final=continue_final):
            text, begun = self._continued(fitting, native, variables, form)
        else:
            text, begun = self._try(fitting, native, variables, add_generation_prompt=add_generation_prompt), ""
        return self._rendered(text, begun, form)

    def _rendered(self, text: str, begun: str, form: Format) -> Rendered:
        """How a prompt ends, which is with `begun` if the answer has begun."""
        begin, end = form.thinks
        knows = begin in self._template.source or end in self._template.source or bool(form.openings)
        tail = text.rstrip()
        if begun:
            place = begun.rfind(begin)
            opened = place >= 0 and end not in begun[place:]
            return Rendered(text, begun[place:] if opened else "", opened)
        for opening in (begin, *form.openings):
            if tail.endswith(opening):
                return Rendered(text, text[len(tail) - len(opening) :], opening == begin or form.thinks_after(opening))
        return Rendered(text, "", knows and not tail.endswith(end))

    def _fitting(
        self, messages: list[Message], form: Format, functions: Sequence[Function], *, parallel: bool | None
    ) -> list[Message]:
        """The messages as the template can take them."""
        abilities = self.abilities
        told = dialects.FORMATS[dialects.GENERIC]
        if functions and form is told:
            several = form.parallel if parallel is None else parallel
            instructions = told.instructions(functions, parallel=several)
            messages = _instructed(messages, instructions)
        if form is told or not abilities.calls:
            messages = [told.told(each) if _is_about_calls(each) else each for each in to_objects(messages)]
        else:
            messages = to_objects(messages) if abilities.objects else to_texts(messages)
            messages = with_short_ids(messages, form.id_length) if form.id_length else messages
        if not abilities.system:
            messages = without_system(messages)
        return typed(messages) if abilities.typed else messages

    def _continued(
        self, messages: list[Message], tools: list[Any] | None, variables: dict[str, Any], form: Format
    ) -> tuple[str, str]:
        """A prompt that ends within the last message, and what of that it ends with."""
        *before, last = messages
        if before and before[-1]["role"] == "assistant":
            raise BadRequest("only the last message may be an unfinished one of the assistant", param="messages")
        content, thought = _text(last["content"]), last.get("reasoning_content")
        if content:
            marked = [last | {"content": content + _SENTINEL}]
            marked = typed(marked) if self.abilities.typed else marked
            whole = self._try([*before, *marked], tools, variables, add_generation_prompt=False)
            text, found, _ = whole.partition(_SENTINEL)
            if found and text.endswith(content):
                return text, content
        text = self._try(before, tools, variables, add_generation_prompt=True)
        if content or not isinstance(thought, str) or not thought:
            return text + content, content
        begin = form.thinks[0]
        opened = "" if text.rstrip().endswith(begin) else f"{begin}\n"
        return f"{text}{opened}{thought}", f"{begin}\n{thought}"

    def _try(
        self,
        messages: list[Message],
        tools: list[Any] | None,
        variables: Mapping[str, Any] | None = None,
        *,
        add_generation_prompt: bool,
    ) -> str:
        given = {
            "documents": None,
            **self._tokens,
            **(variables or {}),
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._template.render(given)
        except BadRequest:
            if tools is None:  # some were made for conversations with functions only, and want at least an empty list
                with suppress(BadRequest):
                    return self._template.render(given | {"tools": []})
            raise


def _is_begun(messages: Sequence[Message], *, add_generation_prompt: bool, continue_final: bool | None) -> bool:
    """Whether the last message is the begin of the answer."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        if continue_final:
            raise BadRequest("the last message is none of the assistant that could be continued", param="messages")
        return False
    return add_generation_prompt if continue_final is None else continue_final


def _is_about_calls(message: Message) -> bool:
    return message["role"] == "tool" or bool(message.get("tool_calls"))


def _instructed(messages: list[Message], instructions: str) -> list[Message]:
    """With instructions at the end of the system's message."""
    if messages and messages[0]["role"] == "system":
        first, *rest = messages
        return [first | {"content": f"{_text(first['content'])}\n\n{instructions}"}, *rest]
    return [{"role": "system", "content": instructions}, *messages]


def _text(content: Any) -> str:
    """Plain text of content as a template takes it."""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)
