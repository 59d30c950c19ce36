"""Calls in Python's words: `search.call(query="…")`, or code that an interpreter is to run."""

import json

from velesio.dialects.answer import Answer, Reading

INTERPRETERS = ("python", "code_interpreter", "ipython")
"""Functions that code is given to, the first that there is."""

_CALL = ".call"


def read_python_call(answer: Answer) -> Reading[bool]:
    """Reads `name.call(key=value, …)` with JSON values, or else code up to the end of the answer."""
    begin = yield from answer.word()
    name = begin.removesuffix(_CALL)
    if name == begin or name not in answer.functions or not (yield from answer.accept("(")):
        return (yield from read_code(answer, begin=begin))
    pairs: list[str] = []
    while True:
        yield from answer.blank()
        if (yield from answer.accept(")")):
            answer.open_call(name)
            answer.arguments(f"{{{', '.join(pairs)}}}")
            return True
        key = yield from answer.word()
        equals = yield from answer.accept("=")
        value = (yield from answer.json()) if key and equals else None
        if value is None:
            return False
        pairs.append(f"{json.dumps(key)}: {value}")
        yield from answer.blank()
        yield from answer.accept(",")


def read_code(answer: Answer, *ends: str, begin: str = "") -> Reading[bool]:
    """Reads code up to one of `ends`, which stays to be read, or the end of the answer; False: nobody can run it.
    `begin` was read already."""
    name = next((name for name in INTERPRETERS if name in answer.functions), "")
    if not name:
        return False
    answer.open_call(name)
    answer.arguments('{"code": "')
    answer.arguments(_inner(begin))
    yield from answer.until(ends, lambda text: answer.arguments(_inner(text)))
    answer.arguments('"}')
    return True


def _inner(text: str) -> str:
    """Text as it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
