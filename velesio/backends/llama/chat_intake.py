"""From a chat to its prompt, to what its answer must look like, and to how long it may reason."""

from collections.abc import Iterable

from velesio.backends.llama.binding import Model
from velesio.backends.llama.calling import Calling, callable_functions
from velesio.backends.llama.chat import ChatTemplate, Rendered
from velesio.backends.llama.grammar import Constraint, constraint_of
from velesio.backends.llama.sequence import Reasoning
from velesio.backends.llama.thought import Thought
from velesio.dialects import Format
from velesio.errors import BadRequest
from velesio.jobs import Chat, Dialect, Grammar


class ChatIntake:
    """Reads chats for one model."""

    def __init__(self, model: Model, template: ChatTemplate) -> None:
        self._model = model
        self._template = template
        self._calling = Calling()
        self._shown: dict[str, frozenset[int]] = {}

    def prompt(self, chat: Chat) -> Rendered:
        """The prompt's text.

        Raises:
            BadRequest: if the model's template cannot render it.
        """
        kwargs = chat.template_kwargs
        if chat.reasoning_budget == 0:
            kwargs = {"enable_thinking": False} | kwargs
        return self._template.render(
            chat.messages,
            add_generation_prompt=chat.add_generation_prompt,
            arguments=kwargs,
            tools=() if chat.tool_choice == "none" else chat.tools,
            parallel=chat.parallel_tool_calls,
            continue_final=chat.continue_final,
        )

    def form(self, chat: Chat) -> Format:
        """What the answer is written in.

        Raises:
            BadRequest: it must call a function that there is none of.
        """
        return self._template.format(callable_functions(chat))

    def constraint(self, chat: Chat, prompt: Rendered) -> Constraint | None:
        """What the answer must look like; None: it is free.

        Raises:
            BadRequest: for grammars and schemas that cannot be used.
        """
        form = self.form(chat)
        grammar = self._calling.grammar(chat, form, prompt)
        if grammar is None:
            return None
        try:
            return self._compiled(grammar, form, prompt)
        except BadRequest:
            # Functions whose schemas together are too much for a grammar are called all the same.
            if not callable_functions(chat) or any(function.strict for function in callable_functions(chat)):
                raise
        loose = self._calling.grammar(chat, form, prompt, loose=True)
        return self._compiled(loose, form, prompt) if loose is not None else None

    def _compiled(self, grammar: Grammar, form: Format, prompt: Rendered) -> Constraint | None:
        thought = _thought(form, prompt) if grammar.lazy and prompt.thinks else None
        return constraint_of(grammar, self._model.grammars, thought)

    def reasoning(self, chat: Chat, prompt: Rendered) -> Reasoning | None:
        """How long the answer may reason; None: it does not."""
        if not prompt.thinks:
            return None
        form = self.form(chat)
        return Reasoning(_thought(form, prompt), chat.reasoning_budget, self._model.tokenize(form.conclusion))

    def shown(self, chat: Chat) -> frozenset[int]:
        """The control tokens that the answer is read by."""
        form = self.form(chat)
        if form.name not in self._shown:
            self._shown[form.name] = frozenset(named(self._model, form.shown))
        return self._shown[form.name]

    def dialect(self, chat: Chat, prompt: Rendered) -> Dialect:
        """How the answer is read."""
        return Dialect(self.form(chat).name, prompt.prefix)


def named(model: Model, texts: Iterable[str]) -> list[int]:
    """The tokens that are called like this; texts of several tokens are left out."""
    return [tokens[0] for text in texts if len(tokens := model.tokenize(text)) == 1]


def _thought(form: Format, prompt: Rendered) -> Thought:
    begin, end = form.thinks
    return Thought(begin, end, begun=prompt.prefix.startswith(begin))
