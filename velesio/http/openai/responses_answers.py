"""Answers of OpenAI's responses API: the response, its items, and how they are counted."""

from collections.abc import Iterable, Mapping
from typing import Any

from velesio.dialects import Said
from velesio.http.openai.responses_requests import Asked
from velesio.http.text.logprobs import native_probs
from velesio.http.text.settings import float32
from velesio.jobs import TextResult, TokenProbs, born, new_id


class Writer:
    """Writes one response."""

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        """The response and its items are called after the job."""
        self.job_id = job_id or new_id()
        self.asked = asked
        self.hearing = asked.hearing._replace(seed=self.job_id)
        self.model = model
        self.id = f"resp_{self.job_id}"
        self.created = int(born(self.job_id))

    def whole(self, result: TextResult) -> dict[str, Any]:
        """The response without streaming."""
        output = self.items(self.hearing.said(result, 0), result)
        took = (result.timings.prompt_ms + result.timings.predicted_ms) / 1000
        return {
            "completed_at": int(self.created + took),
            "created_at": self.created,
            "id": self.id,
            "model": self.model,
            "object": "response",
            "output": output,
            "status": "completed",
            "usage": usage_of(result, output),
            **self.repeated(result),
        }

    def items(self, said: Iterable[Said], result: TextResult) -> list[dict[str, Any]]:
        """What an answer says, item by item; one that says nothing is an empty message."""
        items: list[Item] = []
        for each in said:
            if not items or not items[-1].takes(each):
                items.append(item_of(each, self.job_id, len(items)))
            items[-1].add(each)
        if not items:
            items.append(item_of(Said("content"), self.job_id, 0))
        for item in items:
            # Which of the tokens are the message's is not known any more; as by llama.cpp's server, it has all of them.
            item.logprobs = self.logprobs(result.probs)
        return [item.done() for item in items]

    def logprobs(self, probs: Iterable[TokenProbs]) -> list[dict[str, Any]]:
        """Those of some tokens."""
        return native_probs(probs, post=False)

    def repeated(self, result: TextResult | None = None) -> dict[str, Any]:
        """What OpenAI's clients find in every response beside the answer: mostly what was asked."""
        asked, body = self.asked, self.asked.body
        chat = asked.params[0]
        cut = result is not None and result.stop == "limit"
        return {
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": body.instructions or None,
            "max_output_tokens": None if chat.max_tokens < 0 else chat.max_tokens,
            "metadata": body.metadata,
            "parallel_tool_calls": chat.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort, "summary": None},
            "store": False,
            "temperature": float32(chat.sampling.temperature),
            "text": {"format": body.text.format or {"type": "text"}},
            "tool_choice": asked.told.get("tool_choice", "auto"),
            "tools": asked.told.get("tools", []),
            "top_p": float32(chat.sampling.top_p),
            "truncation": "disabled",
        }


class Item:
    """One item of the output while it grows."""

    kind: str
    prefix: str

    def __init__(self, job_id: str, index: int) -> None:
        self.index = index
        self.text = ""
        self.logprobs: list[dict[str, Any]] = []
        # The first of a kind is called after the job alone.
        self.id = f"{self.prefix}_{job_id}" if index == 0 else f"{self.prefix}_{job_id}_{index}"

    def takes(self, said: Said) -> bool:
        """Whether a piece belongs to this item."""
        return said.kind == self.kind

    def add(self, said: Said) -> None:
        """The next piece."""
        self.text += said.text

    def begun(self) -> dict[str, Any]:
        """The item before its text."""
        raise NotImplementedError

    def done(self) -> dict[str, Any]:
        """The whole item."""
        raise NotImplementedError


class Message(Item):
    """What is meant to be read."""

    kind, prefix = "content", "msg"

    def begun(self) -> dict[str, Any]:
        """The item before its text."""
        return {"content": [], "id": self.id, "role": "assistant", "status": "in_progress", "type": "message"}

    def part(self) -> dict[str, Any]:
        """Its text."""
        return {"type": "output_text", "annotations": [], "logprobs": self.logprobs, "text": self.text}

    def done(self) -> dict[str, Any]:
        """The whole item."""
        return {
            "content": [self.part()],
            "id": self.id,
            "role": "assistant",
            "status": "completed",
            "type": "message",
        }


class Thought(Item):
    """Reasoning."""

    kind, prefix = "reasoning", "rs"

    def begun(self) -> dict[str, Any]:
        """The item before its text."""
        return self._item([], "in_progress")

    def done(self) -> dict[str, Any]:
        """The whole item."""
        return self._item([{"text": self.text, "type": "reasoning_text"}], "completed")

    def _item(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "summary": [],
            "type": "reasoning",
            "content": content,
            "encrypted_content": "",
            "status": status,
        }


class Call(Item):
    """A call of a function."""

    kind, prefix = "call", "fc"

    def __init__(self, job_id: str, index: int, said: Said) -> None:
        super().__init__(job_id, index)
        self.call, self.call_id, self.name = said.call, said.id, said.name

    def takes(self, said: Said) -> bool:
        """Whether a piece belongs to this call."""
        return said.kind == "call" and said.call == self.call

    def begun(self) -> dict[str, Any]:
        """The item before its arguments."""
        return self._item("in_progress", "")

    def done(self) -> dict[str, Any]:
        """The whole item."""
        return self._item("completed", self.text)

    def _item(self, status: str, arguments: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "arguments": arguments,
            "call_id": self.call_id,
            "name": self.name,
        }


def item_of(said: Said, job_id: str, index: int) -> Item:
    """A new item for a piece, not yet with its text."""
    if said.kind == "call":
        return Call(job_id, index, said)
    return Thought(job_id, index) if said.kind == "reasoning" else Message(job_id, index)


def usage_of(result: TextResult, output: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts. Tokens of the reasoning are its share of the text."""
    used = result.usage
    texts = [part["text"] for item in output if item["type"] == "reasoning" for part in item["content"]]
    share = sum(map(len, texts)) / len(result.text) if result.text else 0.0
    return {
        "input_tokens": used.prompt_tokens,
        "output_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens},
        "output_tokens_details": {"reasoning_tokens": round(used.completion_tokens * min(1.0, share))},
    }
