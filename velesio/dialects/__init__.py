"""How models write reasoning and tool calls into their answers: formats, how to read them, grammars for them. Pure."""

from velesio.dialects.answer import Answer
from velesio.dialects.format import Format
from velesio.dialects.function import Function, functions_of
from velesio.dialects.notation import Notation
from velesio.dialects.registry import FORMATS, GENERIC, PLAIN, detect, find
from velesio.dialects.said import Said
from velesio.dialects.speech import Speech

__all__ = [
    "FORMATS",
    "GENERIC",
    "PLAIN",
    "Answer",
    "Format",
    "Function",
    "Notation",
    "Said",
    "Speech",
    "detect",
    "find",
    "functions_of",
]
