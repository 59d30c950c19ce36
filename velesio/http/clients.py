"""Clients that tell by their headers what they can read; everybody else gets what the route says."""

import enum
from collections.abc import Mapping
from typing import Any


class Client(enum.Enum):
    """Programs whose readers need something of their own."""

    UNITY = "LLMUnity 3: the native reader, to which each HTTP chunk is one event of less than 4,090 bytes"
    UNITY_WEB = "LLMUnity 1 and 2: Unity's own web client, to which nothing but `data: ` events exists"
    OLLAMA = "Ollama's own clients"
    OTHER = "anybody else"

    @property
    def is_unity(self) -> bool:
        """Whether it is a game with LLMUnity."""
        return self in {Client.UNITY, Client.UNITY_WEB}


_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via")


def client_of(headers: Mapping[str, str]) -> Client:
    """Who sends a request with these headers (names in any case, as aiohttp has them).

    LLMUnity 3 sends `Cache-Control: no-cache` and one plain `Accept`, and either no user agent (cpp-httplib leaves it
    out of streams), cpp-httplib's, or that of Apple's URL loading system.
    """
    agent = headers.get("User-Agent", "")
    if agent.startswith("UnityPlayer/"):
        return Client.UNITY_WEB
    if agent.lower().startswith("ollama"):
        return Client.OLLAMA
    native = not agent or agent.startswith("cpp-httplib/") or _is_apple(agent)
    plain = headers.get("Accept", "") in {"text/event-stream", "application/json"}
    if native and plain and headers.get("Cache-Control", "") == "no-cache":
        return Client.UNITY
    return Client.OTHER


def may_merge(headers: Mapping[str, str], *, old: bool) -> bool:
    """Whether events that are sent at once may reach LLMUnity as one: on Apple's systems, and behind a proxy, which
    cuts the stream into chunks anew.

    A proxy is known by the headers that it adds, by HTTP/1.0 (`old`), which nginx speaks to servers by default, or
    because it has taken away the `Connection: close` that the native reader sends.
    """
    if _is_apple(headers.get("User-Agent", "")) or old or any(name in headers for name in _FORWARDED):
        return True
    return client_of(headers) is Client.UNITY and headers.get("Connection", "").lower() != "close"


def wants_one_embedding(headers: Mapping[str, str], raw: Mapping[str, Any]) -> bool:
    """Whether `/embeddings` answers with one object, `{"embedding": […]}`, instead of llama.cpp's list: LLMUnity 2
    reads nothing else. LLMUnity 3, which reads the list, says `stream` in every body; other clients say `input`."""
    return client_of(headers) is Client.UNITY_WEB and isinstance(raw.get("content"), str) and "stream" not in raw


def _is_apple(agent: str) -> bool:
    return "CFNetwork/" in agent and "Darwin/" in agent
