"""What was found by fuzzing, once each."""

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.backends.llama import gguf_file
from velesio import config
from velesio.backends.diffusion import header, prompt
from velesio.backends.llama import gguf, sandbox
from velesio.backends.llama.json_schema import to_gbnf
from velesio.backends.llama.template import Template
from velesio.errors import BadRequest, ConfigError, Forbidden, ModelLoadFailed, Unreadable
from velesio.http.addresses import allowed
from velesio.jobs import Completion, Failed
from velesio.pictures import infotext
from velesio.queue import accounts, audit, choices, hooks, records, registry, sessions, wire

_pack = msgspec.msgpack.encode
NO_TEXT, DEEP = b"\xa2\xff\xfe", b"\x91" * 5000 + b"\xc0"
"""msgpack whose text is no UTF-8, and lists within lists: neither is what msgspec calls a DecodeError."""

MANY = 100_000
"""Characters that take minutes if the time grows with their square, within the suite's limit if it does not."""


@pytest.mark.parametrize("line", ["a" * MANY, "a " * MANY, "a: b" + " " * MANY + "x", "-" * MANY, 'a: "' * MANY])
def test_an_infotext_is_read_in_time(line: str) -> None:
    """A picture's text may be a megabyte, and the gateway reads it in its event loop."""
    assert infotext.parse(line).prompt or infotext.parse(line).parameters


@pytest.mark.parametrize(
    "text", ["(" + "a" * MANY + ")", "(" * MANY + "]" * MANY, "(" + ":" * MANY + ")", " " * MANY + "x"]
)
def test_a_prompt_is_read_in_time(text: str) -> None:
    """However its brackets, colons and blanks lie."""
    assert prompt.parts(text)
    assert prompt.wishes(text)


def test_a_prompt_has_a_length() -> None:
    """A longer one is refused before the text encoder sees it."""
    with pytest.raises(BadRequest, match="20001 characters"):
        prompt.spans("a" * 20_001, 20)


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "9" * 400 + ".5"])
def test_numbers_without_measure_are_text(number: str) -> None:
    """They would be infinite, or more digits than Python reads."""
    assert prompt.wishes(f"a AND b:{number}")[1].weight == 1.0
    assert prompt.spans(f"[a:b:{number}]", 4)[0].text == f"[a:b:{number}]"
    assert all(part.weight < 2 for part in prompt.parts(f"(a:{number})"))


def test_weights_are_finite() -> None:
    """Those of tags, and those that stand within each other."""
    assert prompt.tags("<lora:a:nan><lora:b:inf><lora:c:2>")[1] == (prompt.Tag("c", 2.0, 2.0),)
    assert prompt.parts("(" * 60 + "a" + ":999999999)" * 60)[0].weight == 1e6


@pytest.mark.parametrize(
    "source",
    [
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=['ab']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|tojson }}",
        "{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x > 1 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 999999999) }}",
        "{{ 'a'|center(999999999) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ '\t'.expandtabs(999999999) }}",
        "{{ ('a' * 9999999).replace('a', 'b' * 9999) }}",
        "{{ ('a' * 9999999)|replace('a', 'b' * 9999) }}",
        "{{ ('a' * 9999999).join(['b'] * 99999) }}",
        "{{ (['b'] * 99999)|join('a' * 9999999) }}",
        "{{ ('a\n' * 999999)|indent(9999) }}",
        "{{ range(9)|batch(99999999, 'a')|list }}",
        "{{ 'a'.translate({97: 'b' * 9999999}) }}",
        "{{ lipsum(99999999) }}",
        "{% set _velesio_tick = 1 %}",
        "{% if true %}{% break %}{% endif %}",
    ],
)
def test_templates_cannot_grow_without_bound(source: str) -> None:
    """Whatever makes a long text out of short ones is refused before it is made; as is what cannot be compiled."""
    with pytest.raises(BadRequest, match="chat template"):
        Template(source).render({})


def test_templates_join_as_they_did() -> None:
    """`~`, which is measured now, makes the same texts."""
    assert Template("{{ 1 ~ 'a' ~ none ~ [2] ~ x }}").render({"x": "é"}) == "1aNone[2]é"
    assert len(Template("{{ 'a' * 9000000 ~ 'b' }}").render({})) == 9_000_001
    assert sandbox.MAX_LENGTH > 9_000_001


def test_a_gguf_file_may_say_anything_of_its_type(tmp_path: Path) -> None:
    """A list is no file type."""
    entries = {"general.file_type": (gguf_file.ARRAY, (gguf_file.U32, [1]))}
    assert gguf.read(gguf_file.write(tmp_path / "a.gguf", entries)).file_type == "unknown"


@pytest.mark.parametrize("head", [b'{"__metadata__": ["a"]}', b'{"a": ' + b"[" * 5000])
def test_damaged_safetensors_heads_are_refused(tmp_path: Path, head: bytes) -> None:
    """With the file's name, so that the others are served."""
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(ModelLoadFailed, match=r"a\.safetensors"):
        header.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        (b"\xff", ()),
        (b"a = " + b"[" * 5000, ()),
        (b"", ("models=[1]", "models.²=1")),
        (b"", ("models=[1]", f"models.{'9' * 5000}=1")),
        (b"", ("redis.url=${file:\0}",)),
        (b"", ("x" + ".x" * 5000 + "=1",)),
        (b"", ("models_dir=~nobody-of-that-name/x",)),
    ],
)
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, file: bytes, settings: tuple[str, ...]) -> None:
    """With its place, not with a traceback."""
    (tmp_path / "config.toml").write_bytes(file)
    with pytest.raises(ConfigError):
        config.load(tmp_path / "config.toml", {}, settings)


@pytest.mark.parametrize("key", ["²", "9" * 5000])
def test_references_in_schemas_count_in_ascii(key: str) -> None:
    """What only looks like a number leads nowhere."""
    with pytest.raises(BadRequest, match="there is nothing at"):
        to_gbnf({"allOf": [{"$ref": f"#/enum/{key}"}], "enum": [1]})


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a"], "minLength": {}},
        {"enum": ["a"], "maxLength": None, "minLength": "1"},
        {"enum": [1], "minimum": []},
        {"type": [{}], "const": 1},
        {"type": {}},
        {"required": 5, "properties": {}},
        {"required": [{}], "allOf": [{"required": [{}]}]},
        {"properties": []},
        {"prefixItems": 5},
        {"allOf": [{"minimum": 1}, {"minimum": "2"}]},
        {"allOf": [{"enum": 1}, {"enum": 2}]},
        {"allOf": [{"properties": 1}, {"properties": {}}]},
        {"$ref": {}, "type": "string"},
        {"multipleOf": "1", "type": "number"},
    ],
)
def test_keywords_of_a_wrong_kind_are_refused(schema: dict[str, Any]) -> None:
    """Wherever they stand, with their place."""
    with pytest.raises(BadRequest, match=r"json_schema: schema.*: expected "):
        to_gbnf(schema)


def test_keywords_that_are_null_are_not_there() -> None:
    """As some clients' schema makers leave them."""
    assert to_gbnf({"type": "string", "maxLength": None, "pattern": None, "enum": None}) == to_gbnf({"type": "string"})


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "127.050.1"])
def test_addresses_in_unusual_notations_are_private(host: str) -> None:
    """Where every host is allowed, too: some libraries take them for 127.0.0.1."""
    with pytest.raises(Forbidden):
        allowed(f"https://{host}/a.png", ["*"], private=False, option="fetch.hosts")


@pytest.mark.parametrize("text", ["https://[::1]@@", "https://a@", "https://[", "https://a:b@c:d@"])
def test_addresses_that_a_library_stumbles_over_are_refused(text: str) -> None:
    """Whatever it raises."""
    with pytest.raises(Forbidden):
        allowed(text, ["*"], private=True, option="fetch.hosts")


@pytest.mark.parametrize("body", [NO_TEXT, DEEP, b"", b"\xc1\xc1"])
def test_foreign_bytes_of_the_broker_are_unreadable(body: bytes) -> None:
    """One error for all of them, which the API families can tell."""
    fields: list[Any] = [b"text", b"m", b"1", b"t", b"1", b"1", b"g", b"1", b"1", body]
    for read in (wire.read_params, wire.read_reference, sessions.read_turn, lambda body: wire.read_job(b"j", fields)):
        with pytest.raises(Unreadable, match="cannot be read by this release"):
            read(body)
    assert wire.read_message(body) == []
    assert isinstance(wire.read_final(body), Failed)
    assert audit.read_entry(body).action == "unreadable"


def test_events_without_a_tag_are_left_out() -> None:
    """Where a tag should stand, lists and maps may."""
    for odd in ([], [[]], [{}], [[4], "x"]):
        assert wire.read_message(wire.message([_pack(("j", 1, 0, odd))])) == []


def test_accounts_of_a_newer_release_are_read_as_far_as_known() -> None:
    """More measures are passed over; what is no list of numbers is unreadable."""
    row = accounts.read_row("2027-01-01", b"k\x1ft\x1fm", _pack([1, 2, 3, 4, 5, 6, 7000, 8, 9]))
    assert (row.requests, row.images, row.gpu_seconds) == (1, 6, 7.0)
    for body in (_pack([]), _pack([float("nan")] * 7), _pack([float("inf")] * 7), NO_TEXT):
        with pytest.raises(Unreadable):
            accounts.read_row("2027-01-01", b"k", body)


def test_records_with_fields_missing_or_odd_are_unreadable() -> None:
    """Numbers that are none, states that nobody knows."""
    for fields in ([b"gone"], [b"running", b"\xff"], [b"running"]):
        found = [*fields, *[None] * (len(records.FIELDS) - len(fields))]
        with pytest.raises(Unreadable):
            records.read_record("j", records.FIELDS, found)
    numbers: list[Any] = [b"text", b"m", b"x", b"t", b"1", b"1", b"g", b"1", b"1", _pack(Completion("x"))]
    with pytest.raises(Unreadable):
        wire.read_job(b"j", numbers)


def test_a_worker_that_cannot_be_read_hides_no_other() -> None:
    """It is listed, and serves nothing that is known here."""
    sound = [b"b", b"1000", _pack([]), _pack(registry.WorkerInfo(id="b"))]
    found = registry.read_workers([[b"a", b"odd", NO_TEXT, NO_TEXT], sound, [b"c", b"1", DEEP, sound[3]]])
    assert [(worker.id, worker.state, worker.cards) for worker in found] == [
        ("a", "unreadable", []),
        ("b", "ready", []),
        ("c", "ready", []),
    ]


def test_a_hook_that_cannot_be_read_holds_up_no_other() -> None:
    """It is left out, and logged."""
    fields = {
        "url": "u",
        "ten": "t",
        "model": "m",
        "st": "done",
        "number": "1",
        "tries": "1",
        "created": "1",
        "end": "1",
    }
    pairs = [part.encode() for pair in {**fields, "trace": "", "r": ""}.items() for part in pair]
    assert [message.job for message in hooks.read_messages([(b"a", [b"url", b"\xff"]), (b"b", pairs)])] == ["b"]


def test_options_that_are_no_json_are_not_set() -> None:
    """The others are."""
    assert choices.read_choices({b"a": b"{", b"b": json.dumps("x").encode(), b"\xff": b"1"}) == {"b": "x"}
