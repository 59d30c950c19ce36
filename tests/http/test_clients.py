"""Who asks, by the headers that each client sends."""

from typing import Any

import pytest
from multidict import CIMultiDict

from velesio.http.clients import Client, client_of, may_merge, wants_one_embedding

NATIVE_STREAM = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Connection": "close"}
NATIVE = {"Accept": "application/json", "Cache-Control": "no-cache", "Connection": "close"}
APPLE = "Game/1 CFNetwork/1494.0.7 Darwin/23.4.0"
UNITY_WEB = "UnityPlayer/2022.3.20f1 (UnityWebRequest/1.0, libcurl/8.5.0-DEV)"


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (NATIVE_STREAM, Client.UNITY),
        (NATIVE, Client.UNITY),
        (NATIVE | {"User-Agent": "cpp-httplib/0.35.0"}, Client.UNITY),
        (NATIVE_STREAM | {"User-Agent": APPLE}, Client.UNITY),
        (NATIVE_STREAM | {"X-Forwarded-For": "10.0.0.1", "Connection": "keep-alive"}, Client.UNITY),
        ({name.lower(): value for name, value in NATIVE_STREAM.items()}, Client.UNITY),
        ({"User-Agent": UNITY_WEB, "Accept": "*/*"}, Client.UNITY_WEB),
        ({"User-Agent": "ollama-python/0.6.3 (x86_64 linux) Python/3.11.2"}, Client.OLLAMA),
        ({"User-Agent": "ollama-js/0.6.0 (x64 linux Node.js/v20)"}, Client.OLLAMA),
        ({"User-Agent": "ollama/0.21.0 (amd64 linux) Go/go1.25"}, Client.OLLAMA),
        ({"User-Agent": "curl/8.5.0", "Accept": "*/*"}, Client.OTHER),
        ({"User-Agent": "Mozilla/5.0", "Accept": "text/event-stream", "Cache-Control": "no-cache"}, Client.OTHER),
        ({"Accept": "application/json"}, Client.OTHER),
        ({"User-Agent": "cpp-httplib/0.35.0", "Accept": "*/*"}, Client.OTHER),
        ({}, Client.OTHER),
    ],
)
def test_clients_by_their_headers(headers: dict[str, str], client: Client) -> None:
    """A browser's EventSource also says no-cache, but with a name."""
    assert client_of(CIMultiDict(headers)) is client


@pytest.mark.parametrize(
    ("headers", "old", "merges"),
    [
        (NATIVE_STREAM, False, False),
        (NATIVE_STREAM, True, True),
        (NATIVE_STREAM | {"Connection": "keep-alive"}, False, True),
        ({"Accept": "text/event-stream", "Cache-Control": "no-cache"}, False, True),
        (NATIVE_STREAM | {"User-Agent": APPLE}, False, True),
        (NATIVE_STREAM | {"X-Forwarded-For": "10.0.0.1"}, False, True),
        (NATIVE_STREAM | {"Via": "1.1 proxy"}, False, True),
        ({"User-Agent": UNITY_WEB, "Accept": "*/*"}, False, False),
    ],
)
def test_where_events_may_merge(headers: dict[str, str], old: bool, merges: bool) -> None:
    """Where something between cuts the stream anew."""
    assert may_merge(CIMultiDict(headers), old=old) is merges


@pytest.mark.parametrize(
    ("headers", "raw", "one"),
    [
        ({"User-Agent": UNITY_WEB}, {"content": "x"}, True),
        ({"User-Agent": UNITY_WEB}, {"content": "x", "stream": False}, False),
        ({"User-Agent": UNITY_WEB}, {"input": "x"}, False),
        ({"User-Agent": UNITY_WEB}, {"content": ["x", "y"]}, False),
        (NATIVE, {"content": "x", "stream": False}, False),
        (NATIVE, {"content": "x"}, False),
        ({}, {"content": "x"}, False),
    ],
)
def test_the_shape_of_embeddings_by_client(headers: dict[str, str], raw: dict[str, Any], one: bool) -> None:
    """Only the second generation reads an object."""
    assert wants_one_embedding(CIMultiDict(headers), raw) is one
