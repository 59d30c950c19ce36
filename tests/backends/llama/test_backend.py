"""The llama backend with SmolLM2 keeps the laws, with shared cells and with separate ones."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import GREEDY, Desk, Subject, TextLaws
from tests.backends.llama import tiny
from tests.backends.llama.conftest import llama, subject_of
from velesio.backends.base import ModelCard
from velesio.errors import ConfigError, ModelLoadFailed
from velesio.jobs import Chat, Completion


class TestSeparateCells(TextLaws):
    prompts = ("1 2 3 4 5 6 7", "A B C D E F G", "Monday, Tuesday,")
    unicode = "🦊 🐢 🦊 🐢 🦊 🐢 🦊 🐢 🦊"

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, smollm2: Path) -> Subject:
        return subject_of(smollm2, context=112, slots=3)


class TestUnifiedCells(TestSeparateCells):
    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, smollm2: Path) -> Subject:
        return subject_of(smollm2, context=112, slots=2, kv_unified=True)

    def test_the_same_alone_and_among_others(self) -> None:
        """Does not hold: where in the pool a cell lies decides the order in which attention adds up."""
        pytest.skip("bits of an answer depend on neighbours in one pool of cells")

    test_seeds_are_reproducible = test_the_same_alone_and_among_others
    test_a_drawn_seed_can_be_used_again = test_the_same_alone_and_among_others


def test_finding_models_does_not_import_llama_cpp() -> None:
    """Gateways and `doctor` look at cards without the library."""
    script = (
        "import sys; from pathlib import Path; from velesio.backends.base import Catalogue; "
        "from velesio.backends.llama import backend; "
        "print([card.name for card in backend(Catalogue(models_dir=Path('none'))).models()], "
        "{'llama_cpp', 'numpy', 'jinja2'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "['smollm2-135m-instruct'] set()\n"


def test_a_file_that_llama_cpp_refuses_gives_its_reason(tmp_path: Path, smollm2: Path) -> None:
    """`ModelLoadFailed` carries llama.cpp's own words, and nothing is left half loaded."""
    path = tmp_path / "odd.gguf"
    path.write_bytes(smollm2.read_bytes().replace(b"llama", b"lamma"))
    made = llama(path)
    with pytest.raises(ModelLoadFailed, match="unknown model architecture"):
        made.load(made.models()[0], lambda part: None)


def test_too_large_a_context_is_refused_when_loading(smollm2: Path) -> None:
    """Cells that no memory can hold fail the load, not the process."""
    made = llama(smollm2, kv_unified=True, cells=2_000_000_000)
    with pytest.raises(ModelLoadFailed, match="MiB are free; lower context, slots or cells"):
        made.load(made.models()[0], lambda part: None)


def test_load_options_reach_llama_cpp(make_desk: Callable[..., Desk]) -> None:
    """A model loads and answers with everything set differently from the defaults."""
    desk = make_desk(
        context=200,
        slots=2,
        batch=64,
        ubatch=32,
        threads=1,
        threads_batch=1,
        kv_type_k="q8_0",
        kv_type_v="q8_0",
        mmap="off",
        check_tensors=True,
        tensor_split=[1.0],
        split_mode="none",
        rope_scaling="yarn",
        rope_freq_base=100000.0,
        yarn_orig_ctx=8192,
        swa_full=False,
        kv_offload=False,
        repack="off",
    )
    context: Any = desk.engine._context  # type: ignore[attr-defined]
    assert (context.n_batch, context.n_ubatch, context.n_context) == (64, 32, 200)
    assert "Paris" in desk.text(Completion(prompt="The capital of France is", sampling=GREEDY, max_tokens=4)).text


@pytest.mark.parametrize(("speculation", "guesses"), [("auto", False), ("always", True)])
def test_guesses_that_would_change_bits_are_not_made(tmp_path: Path, speculation: str, guesses: bool) -> None:
    """llama.cpp multiplies weights of 32 bits with several rows by other code than with one. Who wants guesses all the
    same gets them."""
    desk = Desk(subject_of(tiny.decoder(tmp_path / "m.gguf"), context=64, slots=1, speculation=speculation))
    assert (desk.engine._speculation is not None) == guesses  # type: ignore[attr-defined]
    desk.engine.close()


def test_a_chat_template_can_be_replaced(tmp_path: Path, smollm2: Path) -> None:
    """`chat_template` names a file; a missing one is a configuration error."""
    made = llama(smollm2, chat_template=str(tmp_path / "none.jinja"))
    with pytest.raises(ConfigError, match=r"none\.jinja"):
        made.load(made.models()[0], lambda part: None)


def test_the_replaced_template_is_used(tmp_path: Path, make_desk: Callable[..., Desk]) -> None:
    """The prompt is what the file's template gives."""
    file = tmp_path / "mine.jinja"
    file.write_text("Q: {{ messages[0].content }}\nA:")
    desk = make_desk(context=64, slots=1, chat_template=str(file))
    assert desk.text(Chat(messages=[{"role": "user", "content": "2+2?"}], max_tokens=1)).prompt == "Q: 2+2?\nA:"


def test_the_card_tells_what_model_lists_show(smollm2: Path) -> None:
    """The fields of `/v1/models`, the template and the special tokens."""
    card: ModelCard = llama(smollm2, context=1024, slots=3).models()[0]
    assert (card.context, card.slots, card.can_continue) == (1024, 3, True)
    facts = {
        "vocab_type": 2,
        "n_vocab": 49152,
        "n_ctx": 1024,
        "n_ctx_train": 8192,
        "n_embd": 576,
        "n_params": 134515008,
        "size": 96576768,
        "ftype": "Q4_1",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "file": smollm2.name,
    }
    assert facts.items() <= card.meta.items()
    assert "im_start" in card.meta["chat_template"]
    assert 96576768 < card.bytes < 2 * 96576768
