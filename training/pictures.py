"""Pictures: arrays of drawn pictures to train on, made anew from a seed."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from PIL import Image

from training.captions import caption, random_scene, training_scenes
from training.drawing import COLOURS, SUPERSAMPLING, Place, Scene, draw, draw_form
from training.forms import FORMS

STYLE_SHARES = {"flat": 0.68, "outline": 0.14, "pixel": 0.08, "collage": 0.1}
"""What the autoencoder sees, so that it can also show styles and pictures that the denoiser was not trained on."""


def captioned(count: int, side: int, seed: int, style: str = "flat") -> Iterator[tuple[Scene, str, np.ndarray]]:
    """Scenes with a caption and a picture, uint8 (side, side, 3)."""
    random = np.random.default_rng(seed)
    for scene in islice(training_scenes(seed), count):
        picture = draw(scene, side, style=style, jitter=random)
        yield scene, caption(scene, random), np.asarray(picture)


def collage(side: int, random: np.random.Generator) -> Image.Image:
    """Up to six forms of any colour, anywhere, over a gradient between two colours."""
    colours = list(COLOURS.values())
    ends = random.choice(len(colours), 2)
    share = np.linspace(0, 1, side * SUPERSAMPLING)[None, :, None]
    row = np.array(colours[ends[0]]) * (1 - share) + np.array(colours[ends[1]]) * share
    field = np.repeat(row, side * SUPERSAMPLING, axis=0).astype(np.uint8)
    image = Image.fromarray(field.transpose(1, 0, 2).copy() if random.random() < 0.5 else field)
    for _ in range(int(random.integers(1, 7))):
        place = Place(*random.uniform((-0.8, -0.8, 0.15), (0.8, 0.8, 0.7)).tolist())
        colour = colours[int(random.integers(len(colours)))]
        draw_form(image, str(random.choice(list(FORMS))), colour, colours[ends[0]], place)
    return image.resize((side, side), Image.Resampling.BOX)


def mixed(count: int, side: int, seed: int) -> torch.Tensor:
    """Pictures in all styles and collages: uint8, shape (count, 3, side, side)."""
    random = np.random.default_rng(seed)
    pictures = np.empty((count, side, side, 3), np.uint8)
    for i in range(count):
        style = str(random.choice(list(STYLE_SHARES), p=list(STYLE_SHARES.values())))
        if style == "collage":
            pictures[i] = np.asarray(collage(side, random))
        else:
            pictures[i] = np.asarray(draw(random_scene(random), side, style=style, jitter=random))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def as_input(pictures: torch.Tensor) -> torch.Tensor:
    """Bytes as a model sees them: float, -1 to 1."""
    return pictures.float() / 127.5 - 1


def as_bytes(output: torch.Tensor) -> np.ndarray:
    """A model's pictures as bytes, shape (n, height, width, 3)."""
    scaled = ((output.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def sheet(pictures: np.ndarray, columns: int, scale: int = 1, gap: int = 2) -> Image.Image:
    """Pictures beside and below each other, shape (n, side, side, 3)."""
    side = pictures.shape[1] * scale + gap
    rows = -(-len(pictures) // columns)
    image = Image.new("RGB", (columns * side - gap, rows * side - gap), (128, 128, 128))
    for i, picture in enumerate(pictures):
        tile = Image.fromarray(picture).resize((side - gap, side - gap), Image.Resampling.NEAREST)
        image.paste(tile, (i % columns * side, i // columns * side))
    return image
