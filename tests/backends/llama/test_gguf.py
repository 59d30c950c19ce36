"""The GGUF reader: facts of a real model, and no harm from damaged or hostile files."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.llama import gguf_file as make
from tests.backends.llama import tiny
from velesio.backends.llama import gguf
from velesio.errors import ConfigError

ANYWHERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)


def test_a_real_model_is_described(smollm2: Path) -> None:
    """The numbers that llama.cpp itself reports of SmolLM2."""
    header = gguf.read(smollm2)
    assert header.architecture == "llama"
    assert header.is_model
    assert (header.parameters, header.weights) == (134515008, 96576768)
    assert (header.vocabulary, header.vocabulary_type, header.file_type) == (49152, 2, "Q4_1")
    assert (header.number("context_length"), header.number("embedding_length")) == (8192, 576)
    assert (header.marks["bos"], header.marks["eos"]) == ("<|im_start|>", "<|im_end|>")
    assert header.cell_bytes(16, 16) == 30 * 3 * 64 * 2 * 2
    assert header.chat_template.startswith("{% for message in messages %}")


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    """Texts, numbers, short lists and the special tokens' texts."""
    header = gguf.read(make.write(tmp_path / "tiny.gguf"))
    assert header.values["general.name"] == "Tiny"
    assert header.values["tokenizer.ggml.scores"] == [0.0, 0.0, 1.0, 2.0]
    assert header.values["tokenizer.ggml.tokens#"] == 4
    assert header.marks == {"bos": "<s>", "eos": "</s>"}
    assert (header.parameters, header.weights) == (256, 512)


@pytest.mark.parametrize("mark", ["<|fim_prefix|>", "\u2581<PRE>", "<\uff5cfim\u2581begin\uff5c>"])
def test_gap_marks_are_found_in_the_vocabulary(tmp_path: Path, mark: str) -> None:
    """Also where no key names them; a longer token that holds one is none."""
    assert gguf.read(tiny.decoder(tmp_path / "with.gguf", marks=(mark,))).fills_gaps
    assert not gguf.read(tiny.decoder(tmp_path / "without.gguf", marks=(f"{mark}x", "x"))).fills_gaps


def test_gap_marks_may_be_named(tmp_path: Path, smollm2: Path) -> None:
    """By today's key or by the old one; SmolLM2 has none."""
    for key in ("fim_pre", "prefix"):
        more: dict[str, Any] = {f"tokenizer__ggml__{key}_token_id": 65}
        assert gguf.read(tiny.decoder(tmp_path / f"{key}.gguf", **more)).fills_gaps
    assert not gguf.read(smollm2).fills_gaps


def test_an_encoder_is_told_from_a_decoder(tmp_path: Path, smollm2: Path) -> None:
    """It generates nothing and caches nothing; pooling has llama.cpp's names."""
    header = gguf.read(tiny.bert(tmp_path / "bert.gguf", pooling=2))
    assert (header.generates, header.pooling, header.cell_bytes(16, 16)) == (False, "cls", 0)
    header = gguf.read(smollm2)
    assert (header.generates, header.pooling, header.is_lora) == (True, "", False)
    assert gguf.read(tiny.lora(tmp_path / "lora.gguf")).is_lora


def test_layers_may_differ(tmp_path: Path) -> None:
    """Heads by layer are added up; other lists count with their largest."""
    heads = {
        "llama.attention.head_count_kv": (make.ARRAY, (make.I32, [2, 0])),
        "llama.x": (make.ARRAY, (make.U32, [3, 9])),
    }
    header = gguf.read(make.write(tmp_path / "mixed.gguf", heads))
    assert header.cell_bytes(16, 16) == 2 * 16 * 4
    assert header.number("x") == 9


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"general.type": (make.STRING, "adapter")}, False),
        ({"general.architecture": (make.STRING, "clip")}, False),
        ({"split.no": (make.U32, 1)}, False),
        ({"split.no": (make.U32, 0)}, True),
    ],
)
def test_what_is_no_model_says_so(tmp_path: Path, entries: dict[str, Any], expected: bool) -> None:
    """Adapters, projectors and later parts are not offered as models."""
    assert gguf.read(make.write(tmp_path / "x.gguf", entries)).is_model is expected


@given(st.data())
@ANYWHERE
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Every proper beginning of a file is refused with the file's name."""
    whole = make.contents()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ConfigError, match=r"cut\.gguf"):
        gguf.read(path)


@given(st.lists(st.tuples(st.integers(0, len(make.contents()) - 513), st.integers(0, 255)), min_size=1, max_size=8))
@ANYWHERE
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    """Whatever bytes a header has, the reader returns or raises `ConfigError`, and its facts can be asked for."""
    content = bytearray(make.contents())
    for place, byte in damage:
        content[place] = byte
    path = tmp_path / "odd.gguf"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        header = gguf.read(path)
        assert isinstance(header.is_model, bool)
        assert isinstance(header.file_type, str)
        assert header.vocabulary >= 0
        assert header.number("context_length") >= 0
        assert header.cell_bytes(16, 16) >= 0


HUGE = 2**63


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a GGUF"),
        (b"PK\x03\x04 a zip file", "not a GGUF"),
        (b"GGUF" + struct.pack("<I", 1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", HUGE), "text of"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + make.text("k") + struct.pack("<I", 99), "unknown value type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + make.text("k") + struct.pack("<IIQ", 9, 8, HUGE), "elements"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + make.text("k") + struct.pack("<IIQ", 9, 9, 1),
            "unknown value type 9",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + make.text("t") + struct.pack("<I", 10**9), "dimensions"),
    ],
)
def test_lies_are_found_before_they_cost(tmp_path: Path, content: bytes, message: str) -> None:
    """A length that the file cannot hold is refused, not allocated."""
    path = tmp_path / "liar.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        gguf.read(path)


def test_weights_that_are_not_there_are_missed(tmp_path: Path) -> None:
    """A download that stopped within the weights is told from a whole file."""
    path = make.write(tmp_path / "part.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="download it again"):
        gguf.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(ConfigError, match=r"none\.gguf"):
        gguf.read(tmp_path / "none.gguf")
