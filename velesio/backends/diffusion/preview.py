"""Preview: how a picture looks in the making, from its latents by a matrix: no network runs.

One pixel a latent. The published factors are those of InvokeAI's step callback (Apache-2.0); a checkpoint may carry its
own in its metadata, as JSON under `velesio.preview`: four rows of red, green and blue, and a row that is added.
"""

import io
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

METADATA = "velesio.preview"
_QUICK: Mapping[str, dict[str, int]] = {"PNG": {"compress_level": 1, "compress_type": zlib.Z_RLE}}
"""How a file is compressed that is looked at once: in a fifth of the usual time, a tenth larger."""
_LARGEST = 1e4
"""Latents beyond it have lost their meaning, and would overflow."""

Latent = npt.NDArray[np.float32]
"""Shape (channels, height, width), at unit deviation: what the UNet sees of a finished picture."""


class Factors(NamedTuple):
    """How latents become colours from -1 to 1: `latent @ matrix + offset`."""

    matrix: npt.NDArray[np.float32]
    """Shape (channels, 3)."""
    offset: npt.NDArray[np.float32]
    """Shape (3,)."""

    def to_json(self) -> str:
        """As it stands in a checkpoint's metadata."""
        return json.dumps([[round(float(value), 5) for value in row] for row in (*self.matrix, self.offset)])


def factors(rows: list[list[float]]) -> Factors:
    """From a row for each channel, and one more that is added.

    Raises:
        ValueError: if they do not have three columns.
    """
    table = np.array(rows, dtype=np.float32)
    if table.ndim != 2 or table.shape[1] != 3 or len(table) < 2:
        raise ValueError("preview factors are rows of three numbers: one for each latent channel, and an offset")
    return Factors(table[:-1], table[-1])


_ZERO = [0.0, 0.0, 0.0]
_SD1 = [[0.3444, 0.1385, 0.0670], [0.1247, 0.4027, 0.1494], [-0.3192, 0.2513, 0.2103], [-0.1307, -0.1874, -0.7445]]
_SDXL = [[0.3816, 0.4930, 0.5320], [-0.3753, 0.1631, 0.1739], [0.1770, 0.3588, -0.2048], [-0.4350, -0.2644, -0.4289]]
PUBLISHED = {
    "sd1": factors([*_SD1, _ZERO]),
    "sd2": factors([*_SD1, _ZERO]),
    "sdxl": factors([*_SDXL, _ZERO]),
    "sdxl-refiner": factors([*_SDXL, _ZERO]),
}
"""By the family of the checkpoint."""


def of_checkpoint(family: str, metadata: Mapping[str, str]) -> Factors | None:
    """The checkpoint's own factors, else those of its family; None: nobody knows any.

    Raises:
        ValueError: if its metadata holds something else under that name.
    """
    if METADATA in metadata:
        return factors(json.loads(metadata[METADATA]))
    return PUBLISHED.get(family)


def fitted(latents: npt.NDArray[Any], pictures: npt.NDArray[np.uint8]) -> Factors:
    """The factors with the least squared error over latents (n, channels, h, w) and their pictures (n, 8h, 8w, 3)."""
    count, channels, height, width = latents.shape
    blocks = pictures.reshape(count, height, pictures.shape[1] // height, width, pictures.shape[2] // width, 3)
    colours = blocks.mean(axis=(2, 4)).reshape(-1, 3) / 127.5 - 1
    values = latents.transpose(0, 2, 3, 1).reshape(-1, channels)
    system = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    solution = np.linalg.lstsq(system, colours, rcond=None)[0].astype(np.float32)
    return Factors(solution[:channels], solution[channels])


def drawn(latent: Latent, by: Factors) -> npt.NDArray[np.uint8]:
    """Colours of a latent, shape (height, width, 3); what is no number counts as 0."""
    finite = np.nan_to_num(latent, nan=0.0).clip(-_LARGEST, _LARGEST)
    colours = np.tensordot(finite, by.matrix, axes=(0, 0)) + by.offset
    return np.rint((colours.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def encoded(latent: Latent, by: Factors, *, side: int = 256, form: str = "PNG") -> bytes:
    """A small file of what a latent shows, its longer side about `side` pixels; `form` is PNG, JPEG or WEBP."""
    image = Image.fromarray(drawn(latent, by))
    scale = max(1, round(side / max(image.size)))
    return _file(image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC), form)


def small(pixels: npt.NDArray[np.uint8], *, side: int = 256, form: str = "PNG") -> bytes:
    """A file of a decoded picture, its longer side `side` pixels at most."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return _file(image, form)


def _file(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **_QUICK.get(form, {}))
    return out.getvalue()
