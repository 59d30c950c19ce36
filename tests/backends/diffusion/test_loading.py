"""Checkpoints of every form load, and damaged or hostile files are refused with their name and the reason."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from tests.backends.conformance import Desk
from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio, found, subject_of
from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.diffusion import backend, blueprint, geometry, layout, loading, weights
from velesio.backends.diffusion.conditioning import Style
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.text_encoder import TextEncoder, TextShape
from velesio.errors import ConfigError, ModelLoadFailed
from velesio.jobs import Completed, Framing, Image

SD1_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FULL_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
CLIP_L = TextShape(49408, 768, 12, 12, 3072)
CLIP_G = TextShape(49408, 1280, 32, 20, 5120, activation="gelu", projection=1280)


def meta(make: Any, *arguments: Any) -> Any:
    """A network without memory: names and shapes alone."""
    with torch.device("meta"):
        return make(*arguments)


def open_clip_state(encoder: TextEncoder, prefix: str) -> tiny.State:
    """An OpenCLIP encoder's tensors by their original names."""
    state, whole = {}, encoder.state_dict()
    for name, tensor in whole.items():
        inner = name.removeprefix("text_model.").replace("encoder.layers.", "transformer.resblocks.")
        for old, new in [
            ("layer_norm", "ln_"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
            ("final_ln_", "ln_final"),
            ("embeddings.token_embedding", "token_embedding"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
        ]:
            inner = inner.replace(old, new)
        if inner == "text_projection.weight":
            state[f"{prefix}text_projection"] = tensor.t()
        elif ".self_attn.q_proj." in inner:
            three = [whole[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            place = inner.replace("self_attn.q_proj.", "attn.in_proj_")
            state[prefix + place] = torch.cat(three)
        elif ".self_attn." not in inner:
            state[prefix + inner] = tensor
    return state


def shapes_of(state: tiny.State) -> geometry.Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def sd1_state(make: Any = meta) -> tiny.State:
    unet = make(UNet2DConditionModel.from_config, SD1_UNET)
    vae = make(AutoencoderKL.from_config, FULL_VAE)
    return tiny.unet_state(unet) | tiny.vae_state(vae) | tiny.text_state(make(TextEncoder, CLIP_L))


def sdxl_state(make: Any = meta) -> tiny.State:
    unet = make(UNet2DConditionModel.from_config, SDXL_UNET)
    vae = make(AutoencoderKL.from_config, FULL_VAE)
    first = tiny.text_state(make(TextEncoder, CLIP_L), "conditioner.embedders.0.transformer.")
    second = open_clip_state(make(TextEncoder, CLIP_G), "conditioner.embedders.1.model.")
    return tiny.unet_state(unet) | tiny.vae_state(vae) | first | second


@pytest.mark.parametrize(
    ("state", "unet", "family"), [(sd1_state, SD1_UNET, "sd1"), (sdxl_state, SDXL_UNET, "sdxl")], ids=["sd1", "sdxl"]
)
def test_shapes_tell_the_configuration(state: Any, unet: dict[str, Any], family: str) -> None:
    """From names and shapes alone comes the configuration that the networks were made with."""
    tensors = state()
    plan = blueprint.of_shapes(Path("x"), shapes_of(tensors), {}, 0)
    assert plan.family.name == family
    assert plan.size == {"sd1": 512, "sdxl": 1024}[family]
    assert (plan.factor, plan.channels, plan.inpaints) == (8, 4, False)
    heads = {"attention_head_dim": 8} if family == "sd1" else {}
    assert {name: plan.unet.config[name] for name in unet} == unet | heads
    assert plan.vae.config["block_out_channels"] == [128, 256, 512, 512]
    assert TextShape.of_config(plan.encoders[0].config) == CLIP_L
    if family == "sdxl":
        assert TextShape.of_config(plan.encoders[1].config) == CLIP_G


@pytest.mark.parametrize(("state", "unet"), [(sd1_state, SD1_UNET), (sdxl_state, SDXL_UNET)], ids=["sd1", "sdxl"])
def test_names_are_those_of_diffusers_own_conversion(state: Any, unet: dict[str, Any]) -> None:
    """Every tensor of UNet and VAE goes to the place that diffusers puts it."""
    tensors = {name: torch.empty(tensor.shape, device="meta") for name, tensor in state().items()}
    mine = layout.unet(list(tensors))
    theirs = convert_ldm_unet_checkpoint(dict(tensors), dict(meta(UNet2DConditionModel.from_config, unet).config))
    assert set(mine) == set(theirs)
    assert all(tensors[piece.name].shape == theirs[name].shape for name, piece in mine.items())
    vae = convert_ldm_vae_checkpoint(dict(tensors), dict(meta(AutoencoderKL.from_config, FULL_VAE).config))
    assert set(layout.vae(list(tensors))) == set(vae)


def test_a_tiny_checkpoint_loads_exactly(tmp_path: Path) -> None:
    """The loaded networks have the very weights that were written."""
    path = tiny.write(tmp_path / "tiny.safetensors", seed=4)
    unet, vae, text = tiny.networks(4)
    networks = loading.load(loading.Source(path, Options()), Device(Options()), lambda part: None)
    encoder = networks.conditioner.readers[0].encoder
    for made, loaded in [(unet, networks.unet), (vae, networks.vae.network), (text, encoder)]:
        wanted = made.state_dict()
        assert wanted.keys() == loaded.state_dict().keys()
        assert all(torch.equal(wanted[name], tensor) for name, tensor in loaded.state_dict().items())


def write_folder(place: Path) -> Path:
    """The tiny checkpoint as a diffusers model."""
    unet, vae, text = tiny.networks()
    unet.save_pretrained(place / "unet")
    vae.save_pretrained(place / "vae")
    tiny.save(place / "text_encoder" / "model.safetensors", dict(text.state_dict()))
    config = {
        "vocab_size": 49408,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 64,
    }
    (place / "text_encoder" / "config.json").write_text(json.dumps(config))
    (place / "scheduler").mkdir()
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    (place / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return place


def test_a_folder_is_the_same_as_a_file(tmp_path: Path) -> None:
    """A diffusers model gives the picture of the single file with its weights."""
    tiny.write(tmp_path / "checkpoints" / "tiny.safetensors")
    write_folder(tmp_path / "checkpoints" / "folder")
    backend = found(tmp_path)
    pictures = []
    for card in backend.models():
        desk = Desk(subject_of(tmp_path)._replace(backend=backend, card=card))
        final = desk.run(Image("a fox", steps=3, seed=1))
        desk.engine.close()
        assert isinstance(final, Completed), final
        pictures.append(final.result.pictures[0])
    assert [card.name for card in backend.models()] == ["tiny", "folder"]
    assert tiny.difference(*pictures) == 0


def test_half_precision_files_load(tmp_path: Path) -> None:
    """float16 weights give nearly the picture of float32 ones."""
    pictures = []
    for half in (False, True):
        place = tmp_path / str(half)
        tiny.write(place / "checkpoints" / "tiny.safetensors", half=half)
        desk = Desk(subject_of(place))
        pictures.append(desk.run(Image("a fox", steps=3, seed=1)).result.pictures[0])
        desk.engine.close()
    assert 0 < tiny.difference(*pictures) < 40


TINY_XL = tiny.UNET | {
    "cross_attention_dim": 64,
    "attention_head_dim": [1, 1],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 6 * 256 + 16,
}


def write_xl(path: Path) -> Path:
    """A tiny checkpoint as Stable Diffusion XL's are: two text encoders, and a UNet that is told sizes."""
    unet, vae, first = tiny.networks(unet=TINY_XL)
    second = TextEncoder(tiny.TEXT._replace(activation="gelu", projection=16))
    state = tiny.unet_state(unet) | tiny.vae_state(vae)
    state |= tiny.text_state(first, "conditioner.embedders.0.transformer.")
    state |= open_clip_state(second, "conditioner.embedders.1.model.")
    return tiny.save(path, state)


def test_a_tiny_xl_checkpoint_draws(tmp_path: Path) -> None:
    """Two encoders side by side, the pooled vector and the size are told; an empty negative prompt is nothing."""
    write_xl(tmp_path / "checkpoints" / "tiny.safetensors")
    studio = Studio(subject_of(tmp_path))
    assert studio.subject.card.meta["family"] == "sdxl"
    assert (studio.picture("a fox") != studio.picture("an owl")).any()
    assert (studio.picture("a fox", negative_prompt="blue") != studio.picture("a fox")).any()
    conditioner = studio.engine._models.own.conditioner
    [context] = conditioner.contexts(["a fox"], Style())
    [nothing] = conditioner.contexts([""], Style(), negative=True)
    assert (context.states.shape, context.pooled.shape) == ((77, 64), (16,))
    assert not nothing.states.any()
    assert not nothing.pooled.any()
    [early] = conditioner.contexts(["a fox"], Style(clip_skip=2))
    [moved] = conditioner.contexts(["a fox"], Style(clip_skip=1, clip_skip_xl=True))
    assert torch.equal(early.states, context.states)  # an encoder of XL's has its own layer, unless it is asked for
    assert not torch.allclose(moved.states[:, :32], context.states[:, :32])
    assert torch.equal(moved.states[:, 32:], context.states[:, 32:])
    assert (studio.picture("a fox", framing=Framing(top=32)) != studio.picture("a fox")).any()
    assert (studio.picture("a fox", framing=Framing(left=32)) != studio.picture("a fox")).any()
    works = [studio.start(Image("a fox", steps=4, seed=3)), studio.start(Image("an owl", steps=6, seed=4))]
    alone = studio.result("a fox", steps=4)
    assert tiny.difference(studio.finish(*works)[0].result.pictures[0], alone.pictures[0]) <= 1
    studio.engine.close()


class Hostile:
    """What runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("__import__('pathlib').Path(__import__('os').environ['HOSTILE']).touch()",))


def test_a_hostile_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .ckpt that would run code is refused, whether pickles are allowed or not."""
    trace = tmp_path / "it-ran"
    monkeypatch.setenv("HOSTILE", str(trace))
    path = tmp_path / "checkpoints" / "bad.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": {"a": torch.zeros(1)}, "evil": Hostile()}, path)
    assert found(tmp_path).models() == []
    allowed = found(tmp_path, allow_pickle=True)
    [card] = allowed.models()
    with pytest.raises(ModelLoadFailed, match="weights only"):
        allowed.load(card, lambda part: None)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ModelLoadFailed, match=r"bad\.ckpt"):
        allowed.load(card, lambda part: None)
    assert not trace.exists()


def test_a_pickle_of_weights_loads_by_permission(tmp_path: Path) -> None:
    """A .ckpt gives the picture of the safetensors file with its weights; without permission it is not offered."""
    safe = tiny.write(tmp_path / "safe" / "checkpoints" / "tiny.safetensors")
    path = tmp_path / "checkpoints" / "tiny.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": load_file(safe), "global_step": 3}, path)
    assert found(tmp_path).models() == []
    with pytest.raises(ModelLoadFailed, match="allow_pickle"):
        weights.pickled(path, allow_pickle=False)
    pictures = []
    for place in (tmp_path / "safe", tmp_path):
        desk = Desk(subject_of(place, allow_pickle=True))
        pictures.append(desk.run(Image("a fox", steps=3, seed=1)).result.pictures[0])
        desk.engine.close()
    assert tiny.difference(*pictures) == 0


def _cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _no_head(whole: bytes) -> bytes:
    return struct.pack("<Q", 1 << 60) + whole[8:]


def _wrong_shape(whole: bytes) -> bytes:
    length = struct.unpack("<Q", whole[:8])[0]
    head = json.loads(whole[8 : 8 + length])
    name = next(name for name in head if name != "__metadata__")
    head[name]["shape"] = [1 << 40]
    changed = json.dumps(head).encode()
    return struct.pack("<Q", len(changed)) + changed + whole[8 + length :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_cut, "cut off"),
        (_no_head, "beginning"),
        (_wrong_shape, "contradicts itself"),
        (lambda whole: b"", "cannot be read"),
        (lambda whole: b"\x05\0\0\0\0\0\0\0[1,2]", "cannot be read"),
    ],
    ids=["cut", "no head", "shape", "empty", "list"],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Any, reason: str) -> None:
    """In a folder they are left out; configured ones are an error that names file and reason."""
    path = tiny.write(tmp_path / "checkpoints" / "tiny.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    assert found(tmp_path).models() == []
    with pytest.raises(ModelLoadFailed, match=reason):
        blueprint.read(path)


def test_a_configured_model_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    """It names its table and the file."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing")
    spec = ModelSpec(name="x", path=Path("x.safetensors"), place="models[3]")
    with pytest.raises(ConfigError, match=r"models\[3\].*x\.safetensors"):
        backend(Catalogue(models_dir=tmp_path, specs=(spec,)))


def test_a_file_cut_off_after_it_was_found_fails_its_load(tmp_path: Path) -> None:
    """As when a download is replaced: `ModelLoadFailed` and not a crash."""
    path = tiny.write(tmp_path / "checkpoints" / "tiny.safetensors")
    backend = found(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 100])
    with pytest.raises(ModelLoadFailed, match="cut off"):
        backend.load(backend.models()[0], lambda part: None)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    """The message has the tensor's name."""
    path = tiny.write(tmp_path / "tiny.safetensors")
    state = load_file(path)
    del state["model.diffusion_model.out.2.bias"]
    save_file(state, path)
    with pytest.raises(ModelLoadFailed, match="out"):
        loading.load(loading.Source(path, Options()), Device(Options()), lambda part: None)


def test_a_lora_is_no_checkpoint(tmp_path: Path) -> None:
    """A file of something else says which families there are."""
    path = tiny.save(tmp_path / "lora.safetensors", {"lora_unet_x.lora_up.weight": torch.zeros(1)})
    with pytest.raises(ModelLoadFailed, match="sdxl"):
        blueprint.read(path)


def random_tensors(make: Any, *arguments: Any) -> Any:
    """A network with random half-precision weights, made in place: no time for a proper initialization."""
    with torch.device("meta"):
        network = make(*arguments)
    network.to_empty(device="cpu")
    network.half()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.5 / tensor[0].numel() ** 0.5))
        else:
            tensor.fill_(float(name.endswith("weight")))
    return network


@pytest.mark.slow
@pytest.mark.parametrize(("state", "size"), [(sd1_state, 256), (sdxl_state, 256)], ids=["sd1", "sdxl"])
@pytest.mark.timeout(900)
def test_full_size_checkpoints_run_a_step(tmp_path: Path, state: Any, size: int) -> None:
    """Random weights in the full shape and the original layout, float16: loaded offline, and one step is drawn."""
    path = tmp_path / "checkpoints" / "tiny.safetensors"
    path.parent.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in state(random_tensors).items()}, path)
    desk = Desk(subject_of(tmp_path, dtype="bfloat16"))
    final = desk.run(Image("a fox", width=size, height=size, steps=1, seed=1))
    desk.engine.close()
    assert isinstance(final, Completed), final
    assert tiny.pixels(final.result.pictures[0]).shape == (size, size, 3)
