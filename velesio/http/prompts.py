"""Prompts as clients write them: text, token ids, both mixed, or a list of such."""

from typing import Any

from velesio.errors import Unsupported
from velesio.http.wire import bad_field, within
from velesio.jobs import Prompt


def prompts_of(value: Any, name: str = "prompt") -> list[Prompt]:
    """The prompts in a field. A list with a number in it is one prompt; any other is a list of prompts.

    Raises:
        BadRequest: naming the item.
        Unsupported: pictures or sounds.
    """
    if not isinstance(value, list):
        return [prompt_of(value, name)]
    if not value:
        raise bad_field(name, "must not be an empty list")
    if any(type(item) in {int, float} for item in value):
        return [prompt_of(value, name)]
    return [prompt_of(item, f"{name}[{index}]") for index, item in enumerate(value)]


def prompt_of(value: Any, path: str) -> Prompt:
    """One prompt.

    Raises:
        BadRequest: naming the item.
        Unsupported: pictures or sounds.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return [_piece(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and isinstance(value.get("prompt_string"), str):
        if value.get("multimodal_data"):
            raise Unsupported(f"Field '{path}.multimodal_data': no model here sees images yet", param=path)
        text: str = value["prompt_string"]
        return text
    raise bad_field(path, "expected a string, or a list of token ids and strings")


def _piece(item: Any, path: str) -> int | str:
    if isinstance(item, str):
        return item
    if type(item) is float and item.is_integer():
        item = int(item)
    if type(item) is not int:
        raise bad_field(path, "expected a token id or a string")
    return within(path, item, 0)
