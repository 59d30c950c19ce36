"""The echo plug-in: models from configuration, an engine that repeats what it is told."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from velesio.backends.base import Catalogue, Engine, ModelCard, ModelSpec, Work, failed, read_options
from velesio.backends.echo import asides, image_asides
from velesio.backends.echo.picture import draw
from velesio.errors import BadRequest, ContextExceeded, JobFailed, Unsupported, VelesioError
from velesio.jobs import (
    Aside,
    Cancelled,
    Capability,
    Chat,
    Completed,
    Completion,
    Delta,
    Failed,
    Image,
    ImageAside,
    ImageResult,
    Preview,
    Prompt,
    Result,
    Started,
    TextParams,
    TextResult,
    Timings,
    Usage,
)

_SWITCH = re.compile(r"\[\[\s*(?:after\s+(\d+)\s+)?(\w+)\s*([^\]]*)\]\]\s?")
_WORD = re.compile(r"\s*\S+|\s+$")
_SIDE = 64
"""Pixels of a picture whose size is left to the model."""
_MOST_PIXELS = 1 << 22
"""Of all pictures of a job: they are drawn in one step."""
_ACTIONS = {"raise", "hang", "crash", "fail", "retry"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an echo model behaves."""

    capability: Capability = "text"
    slots: Annotated[int, Meta(ge=1)] = 4
    context: Annotated[int, Meta(ge=2)] = 4096
    tokens_per_second: Annotated[float, Meta(ge=0)] = 0.0
    load_seconds: Annotated[float, Meta(ge=0)] = 0.0
    can_continue: bool = True


class EchoBackend:
    """Models that repeat their prompt."""

    name: ClassVar[str] = "echo"

    def __init__(self, catalogue: Catalogue) -> None:
        self._models = {
            spec.name: (spec, read_options(Options, spec.place, catalogue.options, spec.options))
            for spec in catalogue.specs
        }

    def models(self) -> list[ModelCard]:
        """One card for each configured model."""
        return [_card(spec, options) for spec, options in self._models.values()]

    def load(self, card: ModelCard, report: Callable[[float], None]) -> Engine:
        """Waits as long as the options say, and reports ten steps."""
        options = self._models[card.name][1]
        for tenth in range(1, 11):
            time.sleep(options.load_seconds / 10)
            report(tenth / 10)
        return EchoEngine(options)


def backend(catalogue: Catalogue) -> EchoBackend:
    """The factory that the entry point names."""
    return EchoBackend(catalogue)


def _card(spec: ModelSpec, options: Options) -> ModelCard:
    return ModelCard(
        name=spec.name,
        backend="echo",
        capability=options.capability,
        aliases=spec.aliases,
        slots=options.slots,
        bytes=1 << 20,
        context=options.context,
        can_continue=options.can_continue,
        meta={"n_ctx": options.context, "n_ctx_train": options.context, "n_vocab": 1 << 31},
    )


class EchoEngine:
    """Gives every job one token in each step."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._held: list[_Answer] = []

    def admit(self, work: Work) -> bool:
        """Takes up to `slots` jobs; asides are answered at once."""
        params = work.job.params
        if isinstance(params, Aside) and self._options.capability == "text":
            self._answer_aside(work, lambda: asides.answer(params, self._options.context, self._busy))
            return True
        if isinstance(params, ImageAside) and self._options.capability == "image":
            self._answer_aside(work, lambda: image_asides.answer(params))
            return True
        if len(self._held) >= self._options.slots:
            return False
        try:
            answer = _Answer(work, self._options, self._free_slot())
        except VelesioError as error:
            work.emit(failed(error))
            return True
        work.emit(Started(answer.prompt_tokens))
        self._held.append(answer)
        return True

    def step(self) -> None:
        """One token, or one final event, for each job whose time has come."""
        if pause := min((answer.due for answer in self._held), default=0.0) - time.monotonic():
            time.sleep(min(max(pause, 0.0), 0.01))
        for answer in list(self._held):
            final = Cancelled() if answer.work.cancelled else answer.advance()
            if final is not None:
                self._held.remove(answer)
                answer.work.emit(final)

    def close(self) -> None:
        """Forgets the jobs."""
        self._held.clear()

    def _answer_aside(self, work: Work, answer: Callable[[], Result]) -> None:
        try:
            result = answer()
        except VelesioError as error:
            work.emit(failed(error))
        else:
            work.emit(Completed(result))

    def _busy(self) -> list[bool]:
        taken = {answer.slot for answer in self._held}
        return [slot in taken for slot in range(self._options.slots)]

    def _free_slot(self) -> int:
        taken = {answer.slot for answer in self._held}
        return next(slot for slot in range(self._options.slots) if slot not in taken)


class _Answer:
    """One job's words, in order."""

    def __init__(self, work: Work, options: Options, slot: int) -> None:
        params = work.job.params
        if isinstance(params, Image) != (options.capability == "image"):
            raise BadRequest(f"this model makes {options.capability} only")
        if not isinstance(params, Completion | Chat | Image):
            raise Unsupported("this model repeats its prompt and does nothing else")
        if isinstance(params, Image) and params.form != "png":
            raise Unsupported("this model draws PNG files only", param="form")
        if (
            isinstance(params, Image)
            and (params.width or _SIDE) * (params.height or _SIDE) * params.batch > _MOST_PIXELS
        ):
            raise BadRequest(f"this model draws {_MOST_PIXELS} pixels in one job at most")
        self.work, self.slot = work, slot
        self._begun = time.monotonic()
        self._switches: dict[str, tuple[int, str]] = {}
        self._prompt = _SWITCH.sub(self._switch, _text_of(params))
        self._words = _WORD.findall(self._prompt) or [""]
        self.prompt_tokens = len(self._words)
        if self.prompt_tokens >= options.context:
            raise ContextExceeded.of(self.prompt_tokens, options.context)
        self._pause = 1 / options.tokens_per_second if options.tokens_per_second else 0.0
        if "sleep" in self._switches:
            self._pause = _number(self._switches["sleep"][1])
        self.due = self._begun + self._pause
        self._natural = int(_number(self._switches.get("tokens", (0, str(self.prompt_tokens)))[1]))
        self._room = options.context - self.prompt_tokens
        asked = getattr(params, "max_tokens", 0)
        self._limit = min(self._natural, self._room, asked if asked >= 0 else self._room)
        self._stops = tuple(stop for stop in getattr(params, "stop", ()) if stop)
        self._text, self._shown, self._stop = "", 0, ""
        self._tokens: list[int] = []
        self._pending: list[int] = []
        for _ in work.job.sent:
            self._speak()
        self._pending.clear()

    def advance(self) -> Completed | Failed | None:
        """The next token, if it is time; the final event, if it was the last."""
        if time.monotonic() < self.due:
            return None
        if failed := self._act():
            return failed
        params = self.work.job.params
        if isinstance(params, Image):
            return Completed(self._drawn(params))
        if not self._ended:
            text = self._speak()
            self.due = time.monotonic() + self._pause
            if self.work.job.stream and (text or self._ended):
                self.work.emit(Delta(text, tuple(self._pending), len(self._tokens)))
                self._pending.clear()
        assert isinstance(params, TextParams)  # noqa: S101 - narrows for the type checker
        return self._completed(params) if self._ended else None

    def _drawn(self, params: Image) -> ImageResult:
        """Pictures that depend on the texts, the given files and the seed; a preview is the picture itself."""
        text = f"{self._prompt}|{params.negative_prompt}"
        for file in (*params.init, *([params.inpaint.mask] if params.inpaint else ())):
            text += f"|{hashlib.blake2b(file, digest_size=8).hexdigest()}"
        width, height = params.width or _SIDE, params.height or _SIDE
        seeds = tuple(max(params.seed, 0) + index for index in range(params.batch))
        pictures = tuple(draw(text, seed, width, height) for seed in seeds)
        if params.preview_every and self.work.job.stream:
            for done in range(params.preview_every, params.steps, params.preview_every):
                for index, picture in enumerate(pictures):
                    self.work.emit(Preview(picture, index, done, params.steps))
        return ImageResult(pictures, seeds, width=width, height=height, prompt_tokens=self.prompt_tokens)

    @property
    def _ended(self) -> bool:
        return bool(self._stop) or len(self._tokens) >= self._limit

    def _speak(self) -> str:
        """Says the next word; returns what can be shown now, keeping back what may begin a stop string."""
        word = len(self._tokens) % len(self._words)
        self._tokens.append(word)
        self._pending.append(word)
        self._text += self._word(word)
        found = [(place, stop) for stop in self._stops if (place := self._text.find(stop, self._shown)) >= 0]
        if found:
            place, self._stop = min(found)
            self._text = self._text[:place]
        end = len(self._text) - (0 if self._ended else _held_back(self._text[self._shown :], self._stops))
        text, self._shown = self._text[self._shown : end], end
        return text

    def _word(self, number: int) -> str:
        """With the switch `clock`, the moment at which it is said: monotonic microseconds of this machine."""
        if "clock" in self._switches:
            return f"{time.monotonic_ns() // 1000} "
        again = " " if number == 0 and self._text and not self._words[0][:1].isspace() else ""
        return again + str(self._words[number])

    def _completed(self, params: TextParams) -> Completed:
        whole = len(self._tokens) >= self._natural
        return Completed(
            TextResult(
                text=self._text,
                tokens=tuple(self._tokens),
                stop="word" if self._stop else "eos" if whole else "limit",
                stopping_word=self._stop,
                usage=Usage(self.prompt_tokens, len(self._tokens), 0),
                timings=Timings(0.0, (time.monotonic() - self._begun) * 1000),
                truncated=not self._stop and not whole and len(self._tokens) >= self._room,
                slot=self.slot,
                seed=max(params.sampling.seed, 0),
                prompt="" if isinstance(getattr(params, "prompt", None), str) else self._prompt,
            )
        )

    def _act(self) -> Failed | None:
        """Carries out a switch whose token has come."""
        for name, (after, argument) in self._switches.items():
            if name not in _ACTIONS or len(self._tokens) < after:
                continue
            if name == "crash":
                os._exit(1)
            if name == "raise":
                raise RuntimeError("the prompt asked for it")
            while name == "hang":
                time.sleep(3600)
            return Failed(JobFailed.code, argument or "the prompt asked for it", retry=name == "retry")
        return None

    def _switch(self, match: re.Match[str]) -> str:
        after, name, argument = match.groups()
        self._switches[name] = (int(after or 0), argument.strip())
        return ""


def _text_of(params: Completion | Chat | Image) -> str:
    if isinstance(params, Chat):
        return str(params.messages[-1].get("content") or "") if params.messages else ""
    return _plain(params.prompt)


def _plain(prompt: Prompt) -> str:
    """A list's integers become words, so that they are echoed too."""
    return prompt if isinstance(prompt, str) else " ".join(str(part) for part in prompt)


def _held_back(text: str, stops: tuple[str, ...]) -> int:
    """How many characters at the end of `text` could begin a stop string."""
    return max((size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadRequest(f"{text!r} in a switch is not a number") from None
