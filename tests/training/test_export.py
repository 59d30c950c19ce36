"""The exported file."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open

from training.autoencoder import SCALING, new_autoencoder, normalise
from training.denoiser import new_text_encoder, new_tokenizer, new_unet
from training.export import METADATA, autoencoder_state, export, unet_state
from training.painting import pipeline_of
from training.pictures import as_input, mixed
from velesio.backends.diffusion import blueprint, preview


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("export")
    tokenizer = new_tokenizer(folder / "tokenizer")
    pipeline = pipeline_of(new_autoencoder(64), new_text_encoder(), tokenizer, new_unet(64))
    path = folder / "demo.safetensors"
    export(pipeline, path, {"modelspec.title": "demo"})
    return pipeline, path


def test_the_names_are_those_of_stable_diffusion(exported):
    """Three prefixes, and nothing in diffusers' own names; half precision; below the size that may ship."""
    _, path = exported
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        types = {file.get_tensor(name).dtype for name in names}
        metadata = file.metadata()
    prefixes = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model.")
    assert all(name.startswith(prefixes) for name in names)
    assert "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight" in names
    assert "first_stage_model.decoder.up.3.block.0.conv1.weight" in names
    assert types == {torch.float16}
    assert json.loads(metadata[METADATA])["unet"]["sample_size"] == 8
    assert path.stat().st_size < 12e6
    assert preview.of_checkpoint("sd1", metadata).matrix.shape == (4, 3)


@pytest.mark.filterwarnings("ignore")
def test_diffusers_loads_the_file_with_the_folder_beside_it(exported):
    """Without a network, and every weight is what it was, rounded to half precision."""
    pipeline, path = exported
    loaded = StableDiffusionPipeline.from_single_file(
        str(path), config=str(path.with_suffix("")), local_files_only=True, torch_dtype=torch.float32
    )
    for name in ("unet", "vae", "text_encoder"):
        before, after = getattr(pipeline, name).state_dict(), getattr(loaded, name).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key].half().float(), after[key]) for key in before)


def test_the_server_knows_what_the_file_is(exported):
    """Its blueprint has the parts' measures, the tokenizer and the native size."""
    pipeline, path = exported
    plan = blueprint.read(path)
    assert plan.size == 64
    assert plan.scale == SCALING
    assert plan.tokenizers == (path.with_suffix("") / "tokenizer",)
    assert set(plan.unet.names) == set(pipeline.unet.state_dict())
    assert set(plan.vae.names) == set(pipeline.vae.state_dict())


def test_no_two_tensors_share_a_name():
    """As many names as tensors."""
    unet, autoencoder = new_unet(64), new_autoencoder(64)
    assert len(unet_state(unet)) == len(unet.state_dict())
    assert len(autoencoder_state(autoencoder)) == len(autoencoder.state_dict())


def test_normalising_changes_latents_and_not_pictures():
    """Unit deviation and mean 0 for each channel; what is decoded stays."""
    torch.manual_seed(1)
    model = new_autoencoder(64).requires_grad_(False)
    shown = as_input(mixed(32, 64, 9))
    before = model.decode(model.encode(shown).latent_dist.mean).sample
    normalise(model, shown)
    latents = model.encode(shown).latent_dist.mean
    torch.testing.assert_close(model.decode(latents).sample, before, atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)) * SCALING, torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
