"""What is put onto the checkpoint: a style, a control, a concept."""

import numpy as np
import pytest
import torch

from training.adapter import adapter_state, attach, detach
from training.autoencoder import new_autoencoder
from training.concept import VECTORS, tokens_with
from training.control import edges_of, new_control
from training.denoiser import VOCABULARY, new_text_encoder, new_tokenizer, new_unet
from training.drawing import Scene, draw
from training.painting import pipeline_of
from training.tokenizer import LENGTH
from velesio.backends.diffusion import adapters


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = new_tokenizer(tmp_path_factory.mktemp("extras") / "tokenizer")
    made = pipeline_of(new_autoencoder(64), new_text_encoder(), tokenizer, new_unet(64))
    for part in (made.unet, made.text_encoder, made.vae):
        part.requires_grad_(False).eval()
    return made


@pytest.fixture
def inputs():
    random = torch.Generator().manual_seed(1)
    return (
        torch.randn((2, 4, 8, 8), generator=random),
        torch.tensor([10, 900]),
        torch.randn((2, 77, 96), generator=random),
    )


def test_a_new_adapter_changes_nothing_and_comes_off_again(pipeline, inputs):
    """Its second factor begins at zero; afterwards the UNet has its own layers back."""
    before, names = pipeline.unet(*inputs).sample, list(pipeline.unet.state_dict())
    added = attach(pipeline.unet)
    torch.testing.assert_close(pipeline.unet(*inputs).sample, before)
    for layer in added.values():
        torch.nn.init.normal_(layer.up)
    assert not torch.allclose(pipeline.unet(*inputs).sample, before, atol=1e-2)
    detach(pipeline.unet, added)
    assert list(pipeline.unet.state_dict()) == names
    assert torch.equal(pipeline.unet(*inputs).sample, before)


def test_the_server_reads_the_adapter_as_it_was_trained(pipeline):
    """Each tensor finds its layer, and the change it makes there is the one that training made."""
    added = attach(pipeline.unet)
    for layer in added.values():
        torch.nn.init.normal_(layer.up, std=0.1)
    changes = adapters.read(adapter_state(added), resnets=1)
    assert len(changes) == len(added)
    for name, layer in added.items():
        parts = changes[adapters.Target("unet", name.replace(".", "_"))]
        made = adapters.change(parts, layer.inner.weight)
        wanted = (layer.up @ layer.down).reshape(layer.inner.weight.shape)
        torch.testing.assert_close(made, wanted.detach(), atol=2e-3, rtol=2e-3)
    detach(pipeline.unet, added)


def test_a_new_control_adds_nothing(pipeline, inputs):
    """All that it adds begins at zero, for any edges."""
    control = new_control(pipeline)
    edges = torch.stack([edges_of(np.asarray(draw(Scene("star", "red")))) for _ in range(2)])
    assert edges.shape == (2, 3, 64, 64)
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    down, middle = control(*inputs, controlnet_cond=edges, return_dict=False)
    assert all(not part.any() for part in (*down, middle))
    assert len(down) == 4


def test_a_concept_has_tokens_of_its_own_in_a_prompt(pipeline):
    """They stand where its name stood; the row is as long as any."""
    row = tokens_with(pipeline, "a star, {concept}", VOCABULARY)
    words = pipeline.tokenizer("a star,", add_special_tokens=False).input_ids
    assert len(row) == LENGTH
    assert row[1 : 1 + len(words) + VECTORS] == [*words, *range(VOCABULARY, VOCABULARY + VECTORS)]
