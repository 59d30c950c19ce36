"""Which models are found, under which names."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.backends.llama import gguf_file as make
from tests.backends.llama import tiny
from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.llama.discovery import Found, demo_file, discover
from velesio.errors import ConfigError


def found(models_dir: Path, *specs: ModelSpec, **fields: Any) -> dict[str, Found]:
    models = discover(Catalogue(models_dir=models_dir, specs=specs, **fields))
    return {model.card.name: model for model in models}


def test_the_demo_model_stands_in_for_none(tmp_path: Path, smollm2: Path) -> None:
    """Nothing configured and nothing found: SmolLM2 from its package; unless that is not wanted."""
    models = found(tmp_path)
    assert list(models) == ["smollm2-135m-instruct"]
    assert models["smollm2-135m-instruct"].card.aliases == ("smollm2",)
    assert demo_file() == smollm2
    assert found(tmp_path, demo=False) == {}


def test_files_in_the_models_folder_are_found(tmp_path: Path) -> None:
    """Named by their stems in lower case; what is no language model is left out; no demo then."""
    make.write(tmp_path / "text/Big-Model.Q4_K_M.gguf")
    make.write(tmp_path / "text/mmproj.gguf", {"general.architecture": (make.STRING, "clip")})
    make.write(tmp_path / "text/adapter.gguf", {"general.type": (make.STRING, "adapter")})
    (tmp_path / "text/notes.txt").write_text("x")
    assert list(found(tmp_path)) == ["big-model.q4_k_m"]


def test_a_damaged_file_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One bad file in the folder does not keep the server from starting."""
    make.write(tmp_path / "text/good.gguf")
    (tmp_path / "text/bad.gguf").write_bytes(b"GGUF")
    with caplog.at_level(logging.WARNING):
        assert list(found(tmp_path)) == ["good"]
    assert "bad.gguf" in caplog.text


def test_a_bad_section_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    """An option that nobody knows is an error, wherever the model came from."""
    make.write(tmp_path / "text/good.gguf")
    with pytest.raises(ConfigError, match=r"backends\.llama.*slotz"):
        found(tmp_path, options={"slotz": 1})


@pytest.mark.parametrize("path", ["text/a.gguf", "a.gguf", "text", "{absolute}"])
def test_configured_paths_may_be_short(tmp_path: Path, path: str) -> None:
    """Relative to the models folder or its `text` folder, or a folder with one model."""
    file = make.write(tmp_path / "text/a.gguf")
    spec = ModelSpec(name="Mine", path=Path(path.format(absolute=file)), aliases=("m",), options={"slots": 2})
    models = found(tmp_path, spec, options={"slots": 3, "context": 100})
    assert list(models) == ["Mine"]
    card = models["Mine"].card
    assert (card.aliases, card.slots, card.context) == (("m",), 2, 100)


def test_the_demo_model_can_be_configured_by_name(tmp_path: Path) -> None:
    """Its options can be set without knowing where its file is."""
    spec = ModelSpec(name="smollm2", options={"slots": 1})
    assert found(tmp_path, spec)["smollm2"].card.slots == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="x", place="models[3]"), r"models\[3\]: give the path"),
        (ModelSpec(name="x", path=Path("none.gguf"), place="models[3]"), r"models\[3\]: there is no file .*none"),
        (ModelSpec(name="x", path=Path("two"), place="models[3]"), r"models\[3\]: .*holds 2 GGUF"),
        (ModelSpec(name="x", path=Path("two/a.gguf"), options={"slots": -1}, place="models[3]"), r"models\[3\].*slots"),
    ],
)
def test_what_is_configured_wrongly_is_named(tmp_path: Path, spec: ModelSpec, message: str) -> None:
    """The message names the table."""
    make.write(tmp_path / "two/a.gguf")
    make.write(tmp_path / "two/b.gguf")
    with pytest.raises(ConfigError, match=message):
        found(tmp_path, spec)


def test_split_models_are_one(tmp_path: Path) -> None:
    """The first part stands for all; sizes are added up; a missing part is missed."""
    for number in (1, 2):
        entries = {"split.count": (make.U32, 2), "split.no": (make.U32, number - 1)}
        make.write(tmp_path / f"text/huge-{number:05}-of-00002.gguf", entries)
    models = found(tmp_path)
    assert list(models) == ["huge"]
    assert (models["huge"].card.meta["n_params"], models["huge"].card.meta["size"]) == (512, 1024)
    (tmp_path / "text/huge-00002-of-00002.gguf").unlink()
    spec = ModelSpec(name="huge", path=Path("huge-00001-of-00002.gguf"))
    with pytest.raises(ConfigError, match="huge-00002-of-00002"):
        found(tmp_path, spec)


def test_memory_grows_with_context_and_slots(tmp_path: Path) -> None:
    """The estimate is weights, cells and working memory."""
    make.write(tmp_path / "text/a.gguf")

    def size(**options: Any) -> int:
        return found(tmp_path, options={"ubatch": 16} | options)["a"].card.bytes

    cell = 2 * 2 * 16 * 2 * 2
    more = size(context=512, slots=4) - size(context=256, slots=4)
    assert 256 * 4 * cell < more < 2 * 256 * 4 * cell
    assert size(context=512, slots=4, kv_type_k="q8_0", kv_type_v="q8_0") < size(context=512, slots=4)
    assert size(context=512, slots=4, kv_unified=True) < size(context=512, slots=4)


def test_the_card_tells_what_the_model_can(tmp_path: Path, smollm2: Path) -> None:
    """From the header and the options alone."""
    tiny.bert(tmp_path / "rank.gguf", pooling=4)
    tiny.bert(tmp_path / "mean.gguf", pooling=1)
    tiny.decoder(tmp_path / "code.gguf", marks=("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"))
    specs = [ModelSpec(name=name, path=Path(f"{name}.gguf")) for name in ("rank", "mean", "code")]
    chat = ModelSpec(name="chat", path=smollm2, options={"pooling": "last"})
    wanted = ("generates", "pooling", "embeds", "reranks", "fills_gaps", "lora")
    cards = {name: model.card.meta for name, model in found(tmp_path, *specs, chat).items()}
    assert {name: tuple(meta[key] for key in wanted) for name, meta in cards.items()} == {
        "rank": (False, "rank", False, True, False, []),
        "mean": (False, "mean", True, False, False, []),
        "code": (True, "none", True, False, True, []),
        "chat": (True, "last", True, False, False, []),
    }
    assert cards["mean"]["n_embd"] == tiny.WIDTH


def test_adapters_are_listed_as_llama_cpp_lists_them(tmp_path: Path, smollm2: Path) -> None:
    """Ids are places; paths are within the models folder, and tell nothing of it to clients."""
    tiny.lora(tmp_path / "a.gguf", task="sql")
    lora = [{"path": "a.gguf", "scale": 0.5}]
    spec = ModelSpec(name="m", path=smollm2, options={"lora": lora, "slot_save_path": "saved"}, place="models[0]")
    model = found(tmp_path, spec)["m"]
    assert model.card.meta["lora"] == [
        {"id": 0, "path": "a.gguf", "scale": 0.5, "task_name": "sql", "prompt_prefix": ""}
    ]
    assert [file.path for file in model.options.lora] == [str(tmp_path / "a.gguf")]
    assert model.options.slot_save_path == str(tmp_path / "saved")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.gguf", r"none\.gguf: No such file"),
        ("model.gguf", r"models\[0\]: lora\[0\]: .*model\.gguf is no LoRA adapter"),
        ("../x.gguf", r"models\[0\]: lora\[0\]\.path = '\.\./x\.gguf' must be a file within models_dir"),
        ("/x.gguf", "within models_dir"),
        ("a/../../x.gguf", "within models_dir"),
        ("", "within models_dir"),
    ],
)
def test_bad_adapters_are_refused(tmp_path: Path, smollm2: Path, path: str, said: str) -> None:
    """Missing, no adapter, or outside of the models folder."""
    make.write(tmp_path / "model.gguf")
    spec = ModelSpec(name="m", path=smollm2, options={"lora": [{"path": path}]}, place="models[0]")
    with pytest.raises(ConfigError, match=said):
        found(tmp_path, spec)
