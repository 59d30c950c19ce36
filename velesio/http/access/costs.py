"""Costs: what jobs are taken to need before they are computed."""

from collections.abc import Iterable

from velesio.jobs import (
    Chat,
    Completion,
    Embed,
    Image,
    ImageAside,
    Infill,
    Params,
    Prompt,
    Render,
    Rerank,
    TextParams,
)

_CHARACTERS_PER_TOKEN = 4
_ANSWER_TOKENS = 256
"""What an answer without a limit is taken to cost."""
_PIXELS = 512 * 512
"""What a picture whose size is left to the model is taken to have."""


def cost_of(params: Params) -> float:
    """Estimated tokens in thousands, prompt and answer together; megapixel-steps of a picture, of one that is not drawn
    as many steps as it is made of pictures."""
    if isinstance(params, ImageAside):
        return max(0.001, _PIXELS * len(params.pictures) / 1e6)
    if isinstance(params, Image):
        pixels = params.width * params.height or _PIXELS
        return max(0.001, pixels * params.steps * params.batch * _passes(params) / 1e6)
    return max(0.001, _estimated(params) / 1000)


def tokens_of(params: Params) -> int:
    """Estimated tokens, prompt and answer together, at least one."""
    return max(1, round(_estimated(params)))


def _estimated(params: Params) -> float:
    answer = 0
    if isinstance(params, TextParams):
        answer = params.max_tokens if params.max_tokens >= 0 else _ANSWER_TOKENS
    return _prompt_tokens(params) + answer


def _passes(params: Image) -> float:
    """What a picture's passes take together, in first passes."""
    hires = params.hires
    if hires is None:
        return 1.0
    pixels = (hires.width or hires.height) ** 2 or params.width * params.height * hires.scale**2
    return 1 + pixels / max(params.width * params.height, 1) * (hires.steps or params.steps) / max(params.steps, 1)


def _prompt_tokens(params: Params) -> float:
    """Estimated tokens that are read."""
    return sum(map(_tokens, _texts(params)))


def _texts(params: Params) -> Iterable[Prompt]:
    """What is read."""
    match params:
        case Completion():
            texts: Iterable[Prompt] = [params.prompt]
        case Chat():
            texts = (str(message.get("content")) for message in params.messages)
        case Infill():
            texts = [params.prefix, params.suffix, params.prompt, *(text for _, text in params.extra)]
        case Embed():
            texts = params.inputs
        case Rerank():
            texts = (params.query + document for document in params.documents)
        case Render():
            texts = _texts(params.chat)
        case _:
            texts = ()
    return texts


def _tokens(prompt: Prompt) -> float:
    return len(prompt) / (_CHARACTERS_PER_TOKEN if isinstance(prompt, str) else 1)
