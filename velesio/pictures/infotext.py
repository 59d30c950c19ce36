"""Infotext: the text that says how a picture was made, as every A1111 client reads and writes it.

    the prompt, on one or more lines
    Negative prompt: what it should not show
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 1, Size: 64x64, …

Standard library only; see `picture_text` for how it gets into files and out of them.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

NEGATIVE = "Negative prompt:"

FIRST_KEYS = (
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Image CFG scale",
    "Seed",
    "Face restoration",
    "Size",
    "Model hash",
    "Model",
    "FP8 weight",
    "Cache FP16 weight for LoRA",
    "VAE hash",
    "VAE",
    "Variation seed",
    "Variation seed strength",
    "Seed resize from",
    "Denoising strength",
    "Conditional mask weight",
    "Clip skip",
    "ENSD",
    "Token merging ratio",
    "Token merging ratio hr",
    "Init image hash",
    "RNG",
    "Tiling",
)
"""Keys that come first, in this order; all others follow in the order in which they were given."""

LAST_KEYS = ("Version", "User")

DEFAULTS = {
    "Clip skip": "1",
    "Hires resize-1": "0",
    "Hires resize-2": "0",
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": "32",
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": "0",
    "Schedule min sigma": "0",
    "Schedule rho": "0",
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Cache FP16 weight for LoRA": "False",
    "Refiner switch by sampling steps": "False",
}
"""What a key means that the text does not hold."""

_PAIR = re.compile(r'(?<![\w \-/])[ \-/]*+(\w[\w \-/]++):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""Looked for at the begin of a run of a key's characters only: a line of a million letters is read once."""
_SIZE = re.compile(r"^(\d+)x(\d+)$")
_EMPHASIS = re.compile(r"(?<!\\)[()\[\]]")
_MIN_PAIRS = 3
"""Fewer pairs make the last line a part of the prompt."""


class Infotext(NamedTuple):
    """A parsed text; sizes are split into `Size-1` and `Size-2`, and all values are text."""

    prompt: str
    negative_prompt: str
    parameters: dict[str, str]

    def with_defaults(self) -> dict[str, str]:
        """Prompts and parameters in one table, with `DEFAULTS` for what is missing."""
        found = {"Prompt": self.prompt, "Negative prompt": self.negative_prompt} | self.parameters
        emphasis = {"Emphasis": "Original"} if _EMPHASIS.search(self.prompt + self.negative_prompt) else {}
        return found | {key: value for key, value in (DEFAULTS | emphasis).items() if key not in found}


def write(prompt: str, negative_prompt: str, parameters: Mapping[str, object]) -> str:
    """The text for these parameters; those that are None are left out."""
    given = {key: str(value) for key, value in parameters.items() if value is not None}
    middle = [key for key in given if key not in FIRST_KEYS and key not in LAST_KEYS]
    keys = [key for key in (*FIRST_KEYS, *middle, *LAST_KEYS) if key in given]
    line = ", ".join(f"{key}: {quote(given[key])}" for key in keys)
    negative = f"{NEGATIVE} {negative_prompt}" if negative_prompt else ""
    return "\n".join(part for part in (prompt, negative, line) if part)


def parse(text: str) -> Infotext:
    """The parts of a text; a text without parameters is a prompt."""
    lines = text.strip().split("\n")
    pairs = _PAIR.findall(lines[-1])
    if len(pairs) < _MIN_PAIRS:
        pairs = []
    else:
        lines.pop()
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for line in lines:
        found = line.strip()
        if found.startswith(NEGATIVE):
            target, found = negative, found.removeprefix(NEGATIVE).strip()
        target.append(found)
    return Infotext("\n".join(prompt), "\n".join(negative), _parameters(pairs))


def _parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for key, quoted in pairs:
        value = unquote(quoted)
        if size := _SIZE.match(value):
            parameters |= {f"{key}-1": size[1], f"{key}-2": size[2]}
        else:
            parameters[key] = value
    return parameters


def quote(value: str) -> str:
    """A value as it stands in the line: JSON where commas, colons or line ends would mislead."""
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def unquote(value: str) -> str:
    """The value that `quote` wrote; what is no JSON text stays as it is."""
    if not (len(value) > 1 and value.startswith('"') and value.endswith('"')):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, str) else value
