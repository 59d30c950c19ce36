"""The plug-in: finds GGUF models and loads them."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from velesio.backends.base import Catalogue, Engine, Finding, ModelCard
from velesio.backends.llama.discovery import Found, discover
from velesio.backends.llama.options import Options, free_memory
from velesio.errors import ConfigError, ModelLoadFailed

if TYPE_CHECKING:
    from velesio.backends.llama.binding import Context, Model
    from velesio.backends.llama.binding.projector import Projector
    from velesio.backends.llama.chat import ChatTemplate
    from velesio.backends.llama.speculation import Speculation

_TRIED = 4
"""Guesses whose bits are compared when a model is loaded: llama.cpp's kernels of several rows take four."""
_SPINS = "1000"
"""Turns of a barrier's loop before a thread sleeps: some microseconds."""


class LlamaBackend:
    """Models that llama.cpp can run."""

    name: ClassVar[str] = "llama"

    def __init__(self, catalogue: Catalogue) -> None:
        self._models_dir = catalogue.models_dir
        self._found = {model.card.name: model for model in discover(catalogue)}

    def models(self) -> list[ModelCard]:
        """The cards, from the files' heads alone."""
        return [model.card for model in self._found.values()]

    def examine(self) -> Iterator[Finding]:
        """Devices, and how each model would be loaded."""
        _shorten_spinning()
        try:
            from velesio.backends.llama.examination import examine  # noqa: PLC0415 - imports llama.cpp
        except ImportError as error:
            yield Finding("llama.cpp", f"{error}; install velesio[text]", missing=True)
            return
        yield from examine(list(self._found.values()), self._models_dir)

    def load(self, card: ModelCard, report: Callable[[float], None]) -> Engine:
        """Loads weights and allocates the cache.

        Raises:
            ModelLoadFailed: if llama.cpp is not installed or refuses the file.
        """
        model = self._found[card.name]
        template = _template(model, self._models_dir)
        _check_memory(model)
        _shorten_spinning()
        try:
            from velesio.backends.llama.binding import Context, Model  # noqa: PLC0415 - imports llama.cpp
            from velesio.backends.llama.engine import LlamaEngine  # noqa: PLC0415
            from velesio.backends.llama.lora import Adapters  # noqa: PLC0415
        except ImportError as error:
            raise ModelLoadFailed(f"{error}; install velesio[text]") from error
        with ExitStack() as stack:
            weights = Model(model.path, model.options, report)
            stack.callback(weights.close)
            context = Context(weights, model.options, card.context)
            stack.callback(context.close)
            options = _without_harmful_guesses(model.options, weights, context)
            adapters = Adapters(weights, options.lora)
            stack.callback(adapters.close)
            projector = self._projector(model, weights)
            if projector is not None:
                stack.callback(projector.close)
            speculation = self._speculation(options, weights, card.context)
            engine = LlamaEngine(
                weights,
                context,
                _chats(model, template, weights),
                adapters,
                speculation,
                projector=projector,
                name=card.name,
                slots=card.slots,
                options=options,
            )
            stack.pop_all()
        return engine

    def _projector(self, model: Found, weights: "Model") -> "Projector | None":
        if not model.options.mmproj:
            return None
        from velesio.backends.llama.binding.projector import Projector  # noqa: PLC0415 - loads the library for pictures

        return Projector(weights, Path(model.options.mmproj), model.options)

    def _speculation(self, options: Options, target: "Model", context: int) -> "Speculation | None":
        """What guesses tokens ahead: the draft model, or what was said before."""
        if options.speculation == "off" or not options.draft_tokens:
            return None
        from velesio.backends.llama.speculation import Lookup, Speculation  # noqa: PLC0415 - only engines need it

        if not options.draft:
            return Speculation(Lookup(), options.draft_tokens)
        from velesio.backends.llama.binding import Context, Model  # noqa: PLC0415 - imports llama.cpp
        from velesio.backends.llama.draft_model import DraftModel  # noqa: PLC0415

        small_options = msgspec.structs.replace(options, kv_unified=False, cached=0)
        with ExitStack() as stack:
            small = Model(self._models_dir / options.draft, small_options, lambda _part: None)
            stack.callback(small.close)
            cells = Context(small, small_options, context)
            stack.callback(cells.close)
            drafter = DraftModel(small, cells, target)
            stack.pop_all()
        return Speculation(drafter, options.draft_tokens)


def _without_harmful_guesses(options: Options, model: "Model", context: "Context") -> Options:
    """`auto` means no guesses where several tokens at once give other bits than one after the other, so that guesses
    could change an answer; unless somebody wants the draft model that he configured to be used."""
    if options.speculation != "auto" or options.draft or not options.draft_tokens:
        return options
    if model.can_cut and context.can_generate and context.is_exact(1 + min(options.draft_tokens, _TRIED)):
        return options
    return msgspec.structs.replace(options, speculation="off")


def _shorten_spinning() -> None:
    """Makes OpenMP's threads sleep soon at their barriers, unless the environment says otherwise.

    By default they spin for milliseconds, and hold the very core on which the thread that they wait for should run:
    with one other busy program on a machine of two cores, 3 tokens/s came instead of 22. Read when libgomp is loaded,
    so this must come before llama.cpp's import.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = _SPINS


def _check_memory(model: Found) -> None:
    """Refuses a cache that the machine cannot hold: the system would not refuse it, but end the process later."""
    free = free_memory()
    if model.memory > free and not model.options.gpu_layers > 0:
        raise ModelLoadFailed(
            f"{model.card.name}: its context needs {model.memory >> 20} MiB and {free >> 20} MiB are free; "
            "lower context, slots or cells"
        )


def _chats(model: Found, template: str, weights: "Model") -> "ChatTemplate":
    from velesio.backends.llama.chat import ChatTemplate  # noqa: PLC0415 - only engines need Jinja

    own = not model.options.chat_template
    tools = model.header.tool_template if own else ""
    return ChatTemplate(template, bos=weights.bos_text, eos=weights.eos_text, tool_source=tools)


def _template(model: Found, models_dir: Path) -> str:
    if not model.options.chat_template:
        return model.header.chat_template
    file = models_dir / model.options.chat_template
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{model.card.name}: cannot read the chat template {file}: {error}") from None


def backend(catalogue: Catalogue) -> LlamaBackend:
    """The factory that the entry point names."""
    return LlamaBackend(catalogue)
