"""What published templates can do, found by trying; which format their models answer in."""

import pytest

from tests.backends.llama.test_template import SOURCES
from velesio.backends.llama.chat import ChatTemplate
from velesio.dialects import functions_of

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
ALL = "system tools calls results objects parallel"

EXPECTED = {
    "SmolLM2": ("json", "plain", "system"),
    "Qwen-Qwen2.5-7B-Instruct": ("hermes", "hermes", ALL),
    "Qwen-Qwen3-0.6B": ("hermes", "hermes", ALL),
    "Qwen3-Coder": ("qwen3-coder", "qwen3-coder", ALL),
    "StepFun3.5-Flash": ("qwen3-coder", "qwen3-coder", ALL),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ("json", "deepseek-r1", "system"),
    "deepseek-ai-DeepSeek-V3.1": ("json", "deepseek-v3.1", "system calls results objects parallel"),
    "deepseek-ai-DeepSeek-V3.2": ("deepseek-v3.2", "deepseek-v3.2", ALL),
    "mistralai-Mistral-Nemo-Instruct-2407": ("mistral", "mistral", ALL),
    "Mistral-Small-3.2-24B-Instruct-2506": ("mistral-args", "mistral-args", ALL),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("mistral-args", "mistral-args", ALL),
    "ibm-granite-granite-3.3-2B-Instruct": ("granite", "granite", "system tools"),
    "ibm-granite-granite-4.0": ("hermes", "hermes", ALL),
    "microsoft-Phi-3.5-mini-instruct": ("json", "plain", "system"),
    "GLM-4.6": ("glm-4.5", "glm-4.5", ALL),
    "moonshotai-Kimi-K2": ("kimi-k2", "kimi-k2", ALL),
    "MiniMax-M2": ("minimax-m2", "minimax-m2", ALL),
    "openai-gpt-oss-120b": ("harmony", "harmony", "system tools calls results objects"),
    "ByteDance-Seed-OSS": ("seed-oss", "seed-oss", ALL),
    "meetkai-functionary-medium-v3.1": ("functionary-v3.1", "functionary-v3.1", ALL),
    "meetkai-functionary-medium-v3.2": ("functionary-v3.2", "functionary-v3.2", "system tools calls results parallel"),
    "Apertus-8B-Instruct": ("json", "plain", ALL),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_templates_are_known_by_what_they_write(name: str) -> None:
    """The format of answers with functions and without, and what the template can do. One whose words for calls are
    not known here is used as if it had no place for functions."""
    with_tools, without, abilities = EXPECTED[name]
    chat = ChatTemplate(SOURCES[name], bos="<s>", eos="</s>")
    functions = list(functions_of(TOOLS).values())
    assert chat.format(functions).name == with_tools
    assert chat.format([]).name == without
    found = chat.abilities
    assert " ".join(field for field in found.__struct_fields__ if getattr(found, field)) == abilities


@pytest.mark.parametrize("name", SOURCES)
def test_any_template_can_be_tried(name: str) -> None:
    """There is an answer for each, without an exception."""
    assert isinstance(ChatTemplate(SOURCES[name]).abilities.system, bool)


def test_a_template_that_refuses_everything_can_nothing() -> None:
    """Whatever it is tried with."""
    found = ChatTemplate("{{ raise_exception('no') }}").abilities
    assert not any(getattr(found, field) for field in found.__struct_fields__)


def test_parts_are_found_where_text_is_not_written() -> None:
    """Some templates go through the parts of a content and know nothing else."""
    source = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    assert ChatTemplate(source).abilities.typed
