"""Texture: noise that looks like a picture goes on: with the spectrum of its pixels, and their colours.

Pictures are uint8 arrays (height, width, 3).
"""

import numpy as np
import numpy.typing as npt

from velesio.backends.diffusion.masks import Box, Picture

_Planes = npt.NDArray[np.float64]


def around(canvas: Picture, old: Box, *, detail: float, colours: float, seed: int) -> Picture:
    """The canvas with texture everywhere but in the box `old`, whose pixels it is made after.

    `detail` is the power of the spectrum: smaller ones make finer grain. `colours` between 0 and 1: how far the planes
    vary each for itself.
    """
    sample = canvas[old.area].astype(np.float64)
    random = np.random.default_rng(seed)
    size = canvas.shape[:2]
    gray, own = random.standard_normal(size), random.standard_normal((*size, 3))
    mixed = gray[..., None] * (1 - colours) + own * colours
    whole = _like(mixed, sample, detail)
    made: Picture = np.clip(np.rint(whole), 0, 255).astype(np.uint8)
    made[old.area] = canvas[old.area]
    return made


def _like(noise: _Planes, sample: _Planes, detail: float) -> _Planes:
    """Noise (height, width, 3) with the spectrum, the mean and the deviation of each plane of a sample."""
    mean, deviation = sample.mean(axis=(0, 1)), sample.std(axis=(0, 1))
    spectrum = np.abs(np.fft.fft2((sample - mean) * _window(*sample.shape[:2]), s=noise.shape[:2], axes=(0, 1)))
    shaped = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * spectrum**detail, axes=(0, 1)).real
    spread = shaped.std(axis=(0, 1))
    scale = np.divide(deviation, spread, out=np.zeros(3), where=spread > 0)
    result: _Planes = (shaped - shaped.mean(axis=(0, 1))) * scale + mean
    return result


def _window(height: int, width: int) -> _Planes:
    """Fades a picture out toward its borders, which would show as lines in its spectrum."""
    return np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])[..., None]
