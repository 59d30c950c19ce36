"""What the text bench asks of a server, and which figures it reads from the answers. Pure: no clock, no socket."""

import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

# fmt: off
WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system",
    "program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother",
    "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business",
    "issue", "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game", "line", "end",
    "member", "law", "car", "city", "community", "name", "president", "team", "minute", "idea", "kid", "body",
    "information", "back", "parent", "face", "others", "level", "office", "door", "health", "person", "art", "war",
    "history", "party", "result", "change", "morning", "reason", "research", "girl", "guy", "moment", "air",
    "teacher", "force", "education",
)
# fmt: on
"""Each with the blank before it is one token of SmolLM2, and of most other models."""
TOKENS = 64
"""Generated in each stream, where nothing else is said."""
_PROMPT = 48
_SYSTEM = 1000
_LONG = 2000
_BEFORE_LONG = 16
"""Events that each running stream has shown before the long prompt arrives."""
_PROPERTIES = 24
_SHORT = 16
"""Words or tokens, where only the beginning of an answer matters."""


class Stream(msgspec.Struct, kw_only=True):
    """What `benches.text_client` tells of one answer; times in seconds since the first request of its wave."""

    status: int
    sent: float
    ended: float
    frames: list[tuple[float, int]]
    """When text came, and how many tokens had been generated then."""
    tokens: int
    prompt: int
    """Tokens of the prompt, as the server counts them; 0 where it does not say."""
    cached: int
    error: str = ""

    @property
    def first(self) -> float:
        """Seconds to the first text."""
        return self.frames[0][0] - self.sent

    def worst_gap(self, since: float) -> float:
        """The longest pause between two pieces of text that ended after `since`, in seconds."""
        times = [time for time, _ in self.frames]
        return max((later - time for time, later in itertools.pairwise(times) if later >= since), default=0.0)


Request = dict[str, Any]
"""For `benches.text_client`: a native body, and `after`."""
Figures = dict[str, float]
Wave = Sequence[Stream]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Waves of requests to one server that has just been started."""

    name: str
    summary: str
    wave: Callable[[str], list[Request]]
    """The requests that run together; the same for the same seed."""
    figures: Callable[[Sequence[Wave]], Figures]
    waves: int = 1
    second: Callable[[str], list[Request]] | None = None
    """What every second wave asks instead."""
    rivals: bool = True
    """Whether llama-server runs it too."""
    openai: bool = False
    """Whether `python -m llama_cpp.server` runs it too."""
    watched: bool = False
    """Whether Velesio's threads are watched."""

    def requests(self, seed: str, number: int) -> list[Request]:
        """Those of wave `number`, from 0 on."""
        ask = self.second if self.second and number % 2 else self.wave
        return ask(f"{seed} {number}")


def words(seed: str, count: int) -> str:
    """A prompt of `count` tokens that begins like no other."""
    return "".join(f" {word}" for word in random.Random(seed).choices(WORDS, k=count))


def body(prompt: str, tokens: int = TOKENS, *, cache: bool = False, **further: Any) -> Request:
    """A greedy completion of exactly `tokens` tokens, in llama.cpp's own words."""
    fields = {"temperature": 0, "top_k": 1, "ignore_eos": True, "cache_prompt": cache, "stream": True}
    return {"prompt": prompt, "n_predict": tokens, **fields, **further}


def openai_body(native: Request, model: str) -> Request:
    """The same for OpenAI's route. It has no `ignore_eos`: the tokens that come are counted."""
    asked = {"prompt": native["prompt"], "max_tokens": native["n_predict"], "temperature": 0, "top_k": 1}
    return asked | {"stream": True, "model": model}


def warm_up(seed: str) -> list[Request]:
    """What every server does before it is measured."""
    return [{"body": body(words(f"{seed} warm-up {client}", _PROMPT), _SHORT)} for client in range(8)]


def throughput(waves: Sequence[Wave]) -> Figures:
    """Tokens a second over all waves, and the median time to the first text."""
    seconds = sum(max(stream.ended for stream in wave) for wave in waves)
    streams = [stream for wave in waves for stream in wave]
    return {
        "tokens_per_s": sum(stream.tokens for stream in streams) / seconds,
        "first_ms": statistics.median(stream.first for stream in streams) * 1000,
        "prompt_tokens": statistics.fmean(stream.prompt for stream in streams),
        "tokens": sum(stream.tokens for stream in streams),
    }


def _clients(count: int) -> Callable[[str], list[Request]]:
    def wave(seed: str) -> list[Request]:
        return [{"body": body(words(f"{seed} {client}", _PROMPT))} for client in range(count)]

    return wave


def _shared(seed: str) -> list[Request]:
    system = words(f"{seed} system", _SYSTEM)
    own = [words(f"{seed} {client}", _SHORT) for client in range(8)]
    return [{"body": body(system + "." + question, _SHORT, cache=True)} for question in own]


def _shared_figures(waves: Sequence[Wave]) -> Figures:
    streams = [stream for wave in waves for stream in wave]
    return {
        "mean_first_ms": statistics.fmean(stream.first for stream in streams) * 1000,
        "cached_tokens": statistics.fmean(stream.cached for stream in streams),
        "prompt_tokens": statistics.fmean(stream.prompt for stream in streams),
    }


def _long(seed: str) -> list[Request]:
    running = [{"body": body(words(f"{seed} {client}", _PROMPT), 2 * TOKENS)} for client in range(4)]
    return [*running, {"body": body(words(f"{seed} long", _LONG), _SHORT), "after": _BEFORE_LONG}]


def _long_figures(waves: Sequence[Wave]) -> Figures:
    gaps = [stream.worst_gap(wave[-1].sent) for wave in waves for stream in wave[:-1]]
    return {
        "worst_gap_ms": max(gaps) * 1000,
        "long_first_ms": statistics.median(wave[-1].first for wave in waves) * 1000,
        "prompt_tokens": statistics.fmean(wave[-1].prompt for wave in waves),
    }


def schema() -> dict[str, Any]:
    """An object that takes more than `TOKENS` tokens to write."""
    kinds: list[dict[str, Any]] = [{"type": "integer"}, {"type": "string"}, {"type": "boolean"}, {"enum": ["a", "b"]}]
    properties = {f"{WORDS[place]}_{place}": kinds[place % len(kinds)] for place in range(_PROPERTIES)}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _grammar(seed: str) -> list[Request]:
    return [
        {"body": body(words(f"{seed} {client}", _PROMPT), ignore_eos=False, json_schema=schema())}
        for client in range(8)
    ]


def _grammar_figures(waves: Sequence[Wave]) -> Figures:
    free, bound = (throughput(waves[first::2])["tokens_per_s"] for first in (0, 1))
    return {"free_tokens_per_s": free, "tokens_per_s": bound, "part": bound / free}


SCENARIOS = (
    *(
        Scenario(
            name=f"clients-{count}",
            summary=f"{count} streaming clients, {TOKENS} tokens each",
            wave=_clients(count),
            figures=throughput,
            waves=waves,
            openai=count == 8,
        )
        for count, waves in ((1, 4), (4, 3), (8, 3), (16, 2))
    ),
    Scenario(
        name="shared",
        summary=f"8 clients that share a system prompt of {_SYSTEM} tokens, cold",
        wave=_shared,
        figures=_shared_figures,
    ),
    Scenario(
        name="long",
        summary=f"a prompt of {_LONG} tokens arriving among 4 running streams",
        wave=_long,
        figures=_long_figures,
    ),
    Scenario(
        name="python",
        summary="8 streaming clients, the server's own threads watched",
        wave=_clients(8),
        figures=throughput,
        waves=4,
        rivals=False,
        watched=True,
    ),
    Scenario(
        name="grammar",
        summary=f"8 clients, {TOKENS} tokens of JSON by a schema, every second wave without",
        wave=_clients(8),
        second=_grammar,
        figures=_grammar_figures,
        waves=4,
    ),
)
