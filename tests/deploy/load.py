"""A load whose every answer is known: what echo says of its own words, streamed and whole."""

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable
from typing import Self

WORDS = 30
ASKED = {"prompt": f"[[tokens {WORDS}]] one two three", "n_predict": WORDS}
ANSWER = " ".join(["one two three"] * (WORDS // 3))


class Load:
    """Clients that ask one request after the other until the block ends; then every answer must have been right."""

    def __init__(self, connect: Callable[[], http.client.HTTPConnection], clients: int, **headers: str) -> None:
        self._connect = connect
        self._headers = {"Content-Type": "application/json", **headers}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]
        self.answered = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, streamed: bool) -> None:
        while not self._ended.is_set():
            try:
                text = self._streamed() if streamed else self._whole()
            except (OSError, http.client.HTTPException, ValueError, ssl.SSLError) as error:
                text = f"{type(error).__name__}: {error}"
            if text == ANSWER:
                self.answered += 1
            else:
                self.wrong.append(f"{'streamed' if streamed else 'whole'}: {text}")

    def _whole(self) -> str:
        with contextlib.closing(self._connect()) as connection:
            connection.request("POST", "/completion", json.dumps(ASKED), self._headers)
            answer = connection.getresponse()
            body = answer.read()
            return json.loads(body)["content"] if answer.status == 200 else f"{answer.status} {body!r}"

    def _streamed(self) -> str:
        text = ""
        with contextlib.closing(self._connect()) as connection:
            connection.request("POST", "/completion", json.dumps({**ASKED, "stream": True}), self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                return f"{answer.status} {answer.read()!r}"
            for line in answer:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    text += event["content"] if "content" in event else str(event)
        return text
