"""A function that a model may call."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


def _no_parameters() -> Mapping[str, Any]:
    return {"type": "object", "properties": {}}


class Function(msgspec.Struct, frozen=True):
    """What a tool of OpenAI's is about."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = msgspec.field(default_factory=_no_parameters)
    """The JSON schema of its arguments."""
    strict: bool = False
    """Whether arguments that the schema does not allow are worse than a refusal."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schemas of its parameters by name."""
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> frozenset[str]:
        """The parameters that each call has."""
        found = self.parameters.get("required")
        return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()


def functions_of(tools: Iterable[Mapping[str, Any]]) -> dict[str, Function]:
    """The functions among OpenAI's tools by name; what is none is left out."""
    return {function.name: function for tool in tools if (function := _function(tool)) is not None}


def _function(tool: Mapping[str, Any]) -> Function | None:
    inner = tool.get("function")
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return None
    parameters, description = inner.get("parameters"), inner.get("description")
    return Function(
        inner["name"],
        description if isinstance(description, str) else "",
        parameters if isinstance(parameters, dict) and parameters else _no_parameters(),
        inner.get("strict") is True,
    )
