"""An answer in llama.cpp's own shape, which OpenAI's clients can have beside theirs."""

from typing import Any

from velesio.http.text.generation import Generation
from velesio.http.text.settings import Speech, generation_settings
from velesio.http.text.usage import timings_of
from velesio.jobs import Completion, TextParams, TextResult


def native(
    generation: Generation,
    params: TextParams,
    result: TextResult,
    model: str,
    index: int = 0,
    *,
    speech: Speech = Speech(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """An answer in llama.cpp's own shape."""
    used = result.usage
    settings = generation_settings(generation, params, speech, result.in_force)
    if result.timings.drafted:
        settings["speculative.types"] = "draft"
    prompt = params.prompt if isinstance(params, Completion) else result.prompt
    return {
        "index": index,
        "content": result.text,
        "tokens": result.tokens,
        "id_slot": result.slot,
        "stop": True,
        "model": model,
        "tokens_predicted": used.completion_tokens,
        "tokens_evaluated": used.prompt_tokens,
        "generation_settings": settings,
        "prompt": prompt if isinstance(prompt, str) else result.prompt,
        "has_new_line": "\n" in result.text,
        "truncated": result.truncated,
        "stop_type": result.stop,
        "stopping_word": result.stopping_word,
        # The last token was sampled but never computed.
        "tokens_cached": used.prompt_tokens + max(0, used.completion_tokens - 1),
        "timings": timings_of(used, result.timings),
    }
