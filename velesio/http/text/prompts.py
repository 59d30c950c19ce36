"""Prompts as clients write them: text, token ids, both mixed, text with pictures, or a list of such."""

from typing import Any, NamedTuple

from velesio.http.fields import given
from velesio.http.media import Media, decoded
from velesio.http.wire import bad_field, within
from velesio.jobs import Prompt


class Given(NamedTuple):
    """One prompt."""

    prompt: Prompt
    media: tuple[bytes, ...] = ()
    """A file for each media marker in it."""


def prompts_of(value: Any, name: str = "prompt") -> list[Given]:
    """The prompts in a field. A list with a number in it is one prompt; any other is a list of prompts.

    Raises:
        BadRequest: naming the item.
    """
    if not isinstance(value, list):
        return [prompt_of(value, name)]
    if not value:
        raise bad_field(name, "must not be an empty list")
    if any(type(item) in {int, float} for item in value):
        return [prompt_of(value, name)]
    return [prompt_of(item, f"{name}[{index}]") for index, item in enumerate(value)]


def prompt_of(value: Any, path: str) -> Given:
    """One prompt.

    Raises:
        BadRequest: naming the item.
    """
    if isinstance(value, str):
        return Given(value)
    if isinstance(value, list) and value:
        return Given([_piece(item, f"{path}[{index}]") for index, item in enumerate(value)])
    if isinstance(value, dict) and isinstance(value.get("prompt_string"), str):
        return Given(value["prompt_string"], _media(value.get("multimodal_data"), f"{path}.multimodal_data"))
    raise bad_field(path, "expected a string, or a list of token ids and strings")


def _media(value: Any, path: str) -> tuple[bytes, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad_field(path, "expected a list of files in base64, one for each media marker in prompt_string")
    media = Media()
    for index, data in enumerate(value):
        media.add(decoded(data, f"{path}[{index}]"), f"{path}[{index}]")
    return media.files


def _piece(item: Any, path: str) -> int | str:
    if isinstance(item, str):
        return item
    if type(item) is float and item.is_integer():
        item = int(item)
    if type(item) is not int:
        raise bad_field(path, "expected a token id or a string")
    return within(path, item, 0)


PROMPT = given(
    str | list[Any] | dict[str, Any],
    'text, a list of token ids and texts, `{"prompt_string", "multimodal_data": [base64]}` with a media marker '
    "(`GET /props`) for each file, or a list of those",
    required=True,
)
