"""From a job to a sequence: its prompt as tokens, its sampler, its limits, all checked before anything is computed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from velesio.backends.base import Work
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.chat import ChatTemplate, Rendered
from velesio.backends.llama.chat_intake import ChatIntake, named
from velesio.backends.llama.infill import infill_tokens
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.media import marked, plain, split_chat, split_prompt
from velesio.backends.llama.options import Options
from velesio.backends.llama.sampler import sampler_of
from velesio.backends.llama.sequence import Prompt, Sequence
from velesio.errors import BadRequest, ContextExceeded, Unsupported
from velesio.jobs import Chat, Completion, Infill, PromptResult, TextParams

if TYPE_CHECKING:
    from velesio.backends.llama.binding.projector import Projector

_MAX_STOPS = 128
"""Each is looked for after each token."""
_INFILL_WINDOW = 2048
"""Tokens around a gap that are used at most, as by llama.cpp's server."""


class Intake:
    """Reads jobs for one model."""

    def __init__(
        self,
        model: Model,
        context: Context,
        chat: ChatTemplate,
        adapters: Adapters,
        options: Options,
        *,
        projector: "Projector | None" = None,
    ) -> None:
        self._projector = projector
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
        rendered = self._rendered(params) if isinstance(params, Chat) else None
        prompt = self.prompt(params, rendered)
        room = self._context.n_context
        if prompt.read >= room:
            raise ContextExceeded.of(prompt.read, room)
        room -= prompt.read - len(prompt.tokens)
        self._check(work.job.sent)
        constraint = self._chats.constraint(params, rendered) if isinstance(params, Chat) and rendered else None
        words = _words(prompt.tokens) if prompt.pictures else prompt.tokens
        sampler = sampler_of(self._model, params, words, context=room, constraint=constraint)
        shifts = self._shifts(params) and not prompt.pictures
        sequence = Sequence(work, params, prompt, sampler, context=room, shifts=shifts)
        sequence.shown = self._shown(params)
        if isinstance(params, Chat) and rendered:
            sequence.think(self._chats.reasoning(params, rendered))
        sequence.adapters = self._adapters.key_of(params)
        sequence.namespace = (work.job.tenant if self._options.isolate_cache else "", sequence.adapters)
        sequence.drafts = self._may_draft(params) and not prompt.pictures
        if self._steps(params):
            sequence.steps_from = len(sequence.tokens)
        for token in work.job.sent:
            piece = self._model.piece(token, special=token in sequence.shown)
            sequence.replay(token, piece, is_end=self._model.is_end(token))
        return sequence

    def prompt(self, params: TextParams, rendered: Rendered | None = None) -> Prompt:
        """What the model is given; a chat may be `rendered` already."""
        if isinstance(params, Chat):
            rendered = rendered or self._rendered(params)
            if params.media:
                return self._seen_in_chat(params, rendered)
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
        if params.media:
            return self._seen(params)
        if isinstance(params.prompt, str):
            return Prompt(self._filled(self._model.tokenize(params.prompt, special=True)))
        tokens = self._filled(self._tokens(params.prompt))
        return Prompt(tokens, self._model.text(tokens))

    def _rendered(self, chat: Chat) -> Rendered:
        if chat.media:
            return self._chats.prompt(marked(chat))
        return self._chats.prompt(chat)

    def _seen_in_chat(self, chat: Chat, rendered: Rendered) -> Prompt:
        bos = self._model.bos_text
        text = rendered.text.removeprefix(bos) if self._model.adds_bos and bos else rendered.text
        prompt = self._illustrated(split_chat(text, chat.media))
        return prompt._replace(text=plain(rendered.text, chat.media), dialect=self._chats.dialect(chat, rendered))

    def _seen(self, params: Completion) -> Prompt:
        parts = [params.prompt] if isinstance(params.prompt, str) else params.prompt
        prompt = self._illustrated(split_prompt(parts, params.media))
        return prompt._replace(text="" if isinstance(params.prompt, str) else self._model.text(_words(prompt.tokens)))

    def _illustrated(self, parts: Iterable[int | str | bytes]) -> Prompt:
        """A prompt of texts, token ids and files."""
        if self._projector is None:
            raise Unsupported("this model can neither see nor hear; give it a projector with its option `mmproj`")
        pieces: list[list[int] | bytes] = []
        for number, part in enumerate(parts):
            pieces.append(part if isinstance(part, bytes) else self._tokens([part], begins=number == 0))
        if self._model.adds_bos and isinstance(pieces[0], bytes):
            pieces.insert(0, self._model.tokenize("", special=True))
        if isinstance(pieces[-1], bytes):
            raise BadRequest("the prompt ends with a picture or sound; text must follow the last one", param="prompt")
        found = self._projector.illustrated(pieces, ubatch=self._context.n_ubatch)
        return Prompt(found.tokens, pictures=found.pictures)

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

    def _tokens(self, parts: list[int | str], *, begins: bool = True) -> list[int]:
        """Tokens of a mixed list; the begin mark is added only where a text stands first and the list `begins` the
        prompt."""
        tokens: list[int] = []
        for number, part in enumerate(parts):
            if isinstance(part, str):
                tokens += self._model.tokenize(part, special=begins and number == 0)
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

    def _steps(self, params: TextParams) -> bool:
        """Whether what a lost worker sent is computed token by token, as it was there. All at once is quicker, but the
        bits differ then, and so may a choice between tokens that are nearly as likely: every second answer of 150
        tokens went on in other words. Where dice choose, it is no loss."""
        return params.sampling.temperature <= 0 and not self._context.unified

    def _may_draft(self, params: TextParams) -> bool:
        """In the mode `auto`, which is `off` where they would change them, guesses are for answers that depend on
        nothing but the likeliest tokens."""
        if not self._model.can_cut or self._options.speculation == "off":
            return False
        return self._options.speculation == "always" or params.sampling.temperature <= 0


def _words(tokens: Iterable[int]) -> list[int]:
    """Those of a prompt's tokens that are no picture's."""
    return [token for token in tokens if token >= 0]
