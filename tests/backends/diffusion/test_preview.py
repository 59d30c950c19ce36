"""Previews from latents."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from velesio.backends.diffusion import preview


def test_fitted_factors_recover_what_made_the_pictures():
    """Latents that are a linear mix of block colours give back that mix, from pictures eight times as large."""
    random = np.random.default_rng(0)
    latents = random.normal(size=(12, 4, 4, 4)).astype(np.float32)
    truth = preview.factors((random.normal(size=(5, 3)) * 0.08).tolist())
    colours = np.stack([preview.drawn(latent, truth) for latent in latents])
    pictures = colours.repeat(8, axis=1).repeat(8, axis=2)
    found = preview.fitted(latents, pictures)
    np.testing.assert_allclose(found.matrix, truth.matrix, atol=0.03)
    np.testing.assert_allclose(found.offset, truth.offset, atol=0.03)
    again = preview.of_checkpoint("other", {preview.METADATA: found.to_json()})
    np.testing.assert_allclose(again.matrix, found.matrix, atol=1e-5)


def test_a_checkpoint_has_its_own_factors_or_its_family_s_or_none():
    """The file's own come first."""
    own = {preview.METADATA: json.dumps([[1, 0, 0], [0, 1, 0]])}
    assert preview.of_checkpoint("sd1", own).matrix.tolist() == [[1, 0, 0]]
    assert preview.of_checkpoint("sd1", {}) is preview.PUBLISHED["sd1"]
    assert preview.of_checkpoint("nobody", {}) is None
    with pytest.raises(ValueError, match="three numbers"):
        preview.of_checkpoint("sd1", {preview.METADATA: "[1, 2]"})


def test_colours_are_clipped_and_numbers_that_are_none_are_gray():
    """A latent that went wrong is still a picture."""
    latent = np.zeros((4, 2, 2), np.float32)
    latent[:, 0, 0], latent[:, 0, 1] = np.nan, np.inf
    latent[0, 1, 0] = 1e9
    made = preview.drawn(latent, preview.PUBLISHED["sd1"])
    assert made.dtype == np.uint8
    assert made[0, 0].tolist() == [128, 128, 128]
    assert made[1, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_file_has_about_the_side_that_was_asked_for(form):
    """A whole multiple of the latent's side, in its shape."""
    file = preview.encoded(np.zeros((4, 8, 16), np.float32), preview.PUBLISHED["sdxl"], side=128, form=form)
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, image.size) == (form, (128, 64))
