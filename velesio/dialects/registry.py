"""All formats by name, and which of them a chat template belongs to."""

from collections.abc import Mapping

from velesio.dialects.deepseek import DeepSeek, DeepSeekR1
from velesio.dialects.format import Format
from velesio.dialects.functionary import FunctionaryV31, FunctionaryV32
from velesio.dialects.generic import Generic
from velesio.dialects.harmony import Harmony
from velesio.dialects.hermes import Hermes
from velesio.dialects.kimi import Kimi
from velesio.dialects.listed import CommandR, CommandR7B, Granite, Nemotron, Phi
from velesio.dialects.llama3 import Llama3
from velesio.dialects.mistral import Mistral, MistralArgs
from velesio.dialects.plain import Plain
from velesio.dialects.tagged import Dsml, DsmlV4, Glm, MiniMax, QwenCoder, Seed

_SIGNS: tuple[tuple[Format, tuple[str, ...]], ...] = (
    (Harmony(), ("<|channel|>", "<|start|>", "<|message|>")),
    (DsmlV4(), ("DSML｜", "tool_calls>")),  # noqa: RUF001 - DeepSeek's own letters
    (Dsml(), ("DSML｜",)),  # noqa: RUF001 - DeepSeek's own letters
    (DeepSeekR1(), ("<｜tool▁call▁begin｜>", "```json")),  # noqa: RUF001 - DeepSeek's own letters
    (DeepSeek(), ("<｜tool▁call▁begin｜>",)),  # noqa: RUF001 - DeepSeek's own letters
    (CommandR7B(), ("<|START_ACTION|>",)),
    (CommandR(), ("<|CHATBOT_TOKEN|>", "Action:", "```json")),
    (FunctionaryV32(), (">>>", "<|start_header_id|>", "recipient")),
    (Kimi(), ("<|tool_call_begin|>", "<|tool_call_argument_begin|>")),
    (Seed(), ("<seed:tool_call>",)),
    (MiniMax(), ("<minimax:tool_call>",)),
    (QwenCoder(), ("<tool_call>", "<function=", "<parameter=")),
    (Glm(), ("<tool_call>", "<arg_key>")),
    (FunctionaryV31(), ("<function=", "<|start_header_id|>")),
    (Hermes(), ("<tool_call>",)),
    (MistralArgs(), ("[TOOL_CALLS]", "[ARGS]")),
    (Mistral(), ("[TOOL_CALLS]",)),
    (Nemotron(), ("<TOOLCALL>",)),
    (Phi(), ("<|/tool_call|>",)),
    (Granite(), ("<|tool_call|>",)),
    (Llama3(), ("<|start_header_id|>", "ipython")),
    (Llama3(), ("<|python_tag|>",)),
)
"""What a chat template holds that belongs to a format; the first that fits."""

_PLAIN, _GENERIC = Plain(), Generic()
PLAIN, GENERIC = _PLAIN.name, _GENERIC.name
FORMATS: Mapping[str, Format] = {each.name: each for each in (*(form for form, _ in _SIGNS), _PLAIN, _GENERIC)}


def find(name: str) -> Format | None:
    """The format of this name; None: there is none, as of a newer release, or the name is empty."""
    return FORMATS.get(name)


def detect(template: str) -> Format:
    """The format that a chat template's model answers in: the plain one if nothing in it tells of calls."""
    return next((form for form, signs in _SIGNS if all(sign in template for sign in signs)), _PLAIN)
