"""From a job to a sequence: its prompt as tokens, its sampler, its limits, all checked before anything is computed."""

from collections.abc import Iterable

from velesio.backends.base import Work
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.chat import ChatTemplate, Rendered
from velesio.backends.llama.chat_intake import ChatIntake, named
from velesio.backends.llama.infill import infill_tokens
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.options import Options
from velesio.backends.llama.sampler import sampler_of
from velesio.backends.llama.sequence import Prompt, Sequence
from velesio.errors import BadRequest, ContextExceeded, Unsupported
from velesio.jobs import Chat, Completion, Infill, PromptResult, TextParams

_MAX_STOPS = 128
"""Each is looked for after each token."""
_INFILL_WINDOW = 2048
"""Tokens around a gap that are used at most, as by llama.cpp's server."""


class Intake:
    """Reads jobs for one model."""

    def __init__(
        self, model: Model, context: Context, chat: ChatTemplate, adapters: Adapters, options: Options
    ) -> None:
        self._model = model
        self._context = context
        self._chats = ChatIntake(model, chat)
        self._adapters = adapters
        self._options = options
        self._can_shift = context.can_shift and model.can_cut

    def sequence(self, work: Work) -> Sequence:
        """The job as tokens and a sampler, what a lost worker sent included.

        Raises:
            VelesioError: if it cannot be served.
        """
        params = work.job.params
        if not isinstance(params, TextParams):
            raise Unsupported("this model makes text only")
        if not self._context.can_generate:
            raise Unsupported("this model makes embeddings, no text")
        if len(params.stop) > _MAX_STOPS:
            raise BadRequest(f"at most {_MAX_STOPS} stop strings", param="stop")
        rendered = self._chats.prompt(params) if isinstance(params, Chat) else None
        prompt = self.prompt(params, rendered)
        room = self._context.n_context
        if len(prompt.tokens) >= room:
            raise ContextExceeded.of(len(prompt.tokens), room)
        self._check(work.job.sent)
        constraint = self._chats.constraint(params, rendered) if isinstance(params, Chat) and rendered else None
        sampler = sampler_of(self._model, params, prompt.tokens, context=room, constraint=constraint)
        sequence = Sequence(work, params, prompt, sampler, context=room, shifts=self._shifts(params))
        sequence.shown = self._shown(params)
        if isinstance(params, Chat) and rendered:
            sequence.think(self._chats.reasoning(params, rendered))
        sequence.adapters = self._adapters.key_of(params)
        sequence.namespace = (work.job.tenant if self._options.isolate_cache else "", sequence.adapters)
        sequence.drafts = self._may_draft(params)
        for token in work.job.sent:
            piece = self._model.piece(token, special=token in sequence.shown)
            sequence.replay(token, piece, is_end=self._model.is_end(token))
        return sequence

    def prompt(self, params: TextParams, rendered: Rendered | None = None) -> Prompt:
        """What the model is given; a chat may be `rendered` already."""
        if isinstance(params, Chat):
            rendered = rendered or self._chats.prompt(params)
            tokens = self._filled(self._of_template(rendered.text))
            return Prompt(tokens, rendered.text, self._chats.dialect(params, rendered))
        if isinstance(params, Infill):
            window = max(_INFILL_WINDOW, self._context.n_batch)
            tokens = infill_tokens(
                self._model, params, context=self._context.n_context, n_batch=window, spm=self._options.spm_infill
            )
            return Prompt(tokens, self._model.text(tokens))
        if not isinstance(params, Completion):
            raise Unsupported("this model makes text only")
        if isinstance(params.prompt, str):
            return Prompt(self._filled(self._model.tokenize(params.prompt, special=True)))
        tokens = self._filled(self._tokens(params.prompt))
        return Prompt(tokens, self._model.text(tokens))

    def render(self, chat: Chat) -> PromptResult:
        """The prompt of a chat, to be looked at.

        Raises:
            VelesioError: if there is none.
        """
        prompt = self.prompt(chat)
        return PromptResult(prompt.text, len(prompt.tokens), prompt.dialect)

    def _shown(self, params: TextParams) -> frozenset[int]:
        """The control tokens whose text belongs to the answer."""
        own = params.grammar.preserved if params.grammar is not None else ()
        shown = frozenset(named(self._model, own))
        return shown | self._chats.shown(params) if isinstance(params, Chat) else shown

    def _of_template(self, text: str) -> list[int]:
        """Templates often write the begin mark that the vocabulary adds as well."""
        bos = self._model.bos_text
        return self._model.tokenize(text.removeprefix(bos) if self._model.adds_bos and bos else text, special=True)

    def _tokens(self, parts: list[int | str]) -> list[int]:
        """Tokens of a mixed list; the begin mark is added only where a text stands first."""
        tokens: list[int] = []
        for number, part in enumerate(parts):
            if isinstance(part, str):
                tokens += self._model.tokenize(part, special=number == 0)
            else:
                self._check((part,))
                tokens.append(part)
        return tokens

    def _filled(self, tokens: list[int]) -> list[int]:
        if not tokens:
            raise BadRequest("the prompt is empty", param="prompt")
        return tokens

    def _check(self, tokens: Iterable[int]) -> None:
        last = self._model.n_vocab - 1
        for token in tokens:
            if not 0 <= token <= last:
                raise BadRequest(f"there is no token {token}; this model's ids are 0 to {last}", param="prompt")

    def _shifts(self, params: TextParams) -> bool:
        if params.shift and not self._can_shift:
            raise Unsupported("the context of this model cannot be shifted", param="shift")
        return self._can_shift and (self._options.context_shift if params.shift is None else params.shift)

    def _may_draft(self, params: TextParams) -> bool:
        """In the mode `auto` guesses must not change an answer: it depends on nothing but the likeliest tokens, and
        these on nothing but the text; or whoever configured a draft model wants it used."""
        if not self._model.can_cut or self._options.speculation == "off":
            return False
        if self._options.speculation == "always":
            return True
        return params.sampling.temperature <= 0 and (self._context.exact or bool(self._options.draft))
