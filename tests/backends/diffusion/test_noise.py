"""Random numbers: the same for the same seed, as published, and of one Brownian motion."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from velesio.backends.diffusion.noise import Recipe, pasted, slerp
from velesio.backends.diffusion.philox import Philox, block

SHAPE = (4, 8, 8)


def test_philox_gives_the_published_vectors() -> None:
    """Philox4x32-10, the known answers of Random123 (Salmon et al. 2011)."""
    known = [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ]
    for counter, key, wanted in known:
        found = block(np.array(counter, np.uint32)[:, None], (np.uint32(key[0]), np.uint32(key[1])))
        assert [int(word) for word in found[:, 0]] == wanted


def test_nv_numbers_are_those_of_a_gpu() -> None:
    """The first that `torch.randn` gives on an NVIDIA GPU for seed 0."""
    wanted = [-0.92466, -0.42534, -2.64385, 0.14518, -0.12087, -0.57972]
    assert Philox(0).normal(6).tolist() == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("source", ["cpu", "nv"])
def test_a_seed_is_a_picture(source: str) -> None:
    """The same seed draws the same numbers, one after the other; another draws others, about normal ones."""
    one, same, other = (Recipe(seed, source=source).noise(SHAPE) for seed in (5, 5, 6))
    assert torch.equal(one.first, same.first)
    assert torch.equal(one.draw(), same.draw())
    assert not torch.equal(one.first, other.first)
    assert not torch.equal(one.first, one.draw())
    large = Recipe(1, source=source).noise((4, 64, 64)).first
    assert abs(float(large.mean())) < 0.05
    assert abs(float(large.std()) - 1) < 0.05


def test_the_cpu_source_is_torchs() -> None:
    """Numbers of seed 5 are those of a generator with that seed."""
    generator = torch.Generator().manual_seed(5)
    noise = Recipe(5).noise(SHAPE)
    assert torch.equal(noise.first, torch.randn((1, *SHAPE), generator=generator))
    assert torch.equal(noise.draw(), torch.randn((1, *SHAPE), generator=generator))


def test_a_delta_changes_what_comes_later() -> None:
    """The first noise stays, the solver's own is another."""
    plain, other = Recipe(5).noise(SHAPE), Recipe(5, delta=31337).noise(SHAPE)
    assert torch.equal(plain.first, other.first)
    assert not torch.equal(plain.draw(), other.draw())


def test_slerp_keeps_the_size() -> None:
    """Between two noises lies noise: its deviation does not shrink as a plain mean's does."""
    one, other = Recipe(1).noise((4, 64, 64)).first, Recipe(2).noise((4, 64, 64)).first
    middle = slerp(0.5, one, other)
    assert abs(float(middle.std()) - 1) < 0.08
    assert float(((one + other) / 2).std()) < 0.75
    assert torch.allclose(slerp(0.0, one, other), one, atol=1e-5)
    assert torch.allclose(slerp(1.0, one, other), other, atol=1e-5)


def test_smaller_noise_lies_in_the_middle() -> None:
    """And larger noise is cut to its middle."""
    small, large = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 4, 6)
    found = pasted(small, large)
    assert found[0, 0].nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    numbers = torch.arange(24.0).view(1, 1, 4, 6)
    assert torch.equal(pasted(numbers, torch.zeros(1, 1, 2, 2))[0, 0], numbers[0, 0, 1:3, 2:4])


def test_a_brownian_motion_is_one() -> None:
    """Pieces of it add up to the whole, whatever was asked before, and have the deviation of its time."""
    noise = Recipe(3).noise((4, 64, 64))
    levels = [14.6, 7.0, 3.3, 1.0, 0.2]
    pieces = [noise.between(one, other) * math.sqrt(one - other) for one, other in pairwise(levels)]
    whole = Recipe(3).noise((4, 64, 64)).between(14.6, 0.2) * math.sqrt(14.4)
    assert torch.allclose(sum(pieces), whole, atol=1e-4)
    for one, other in pairwise(levels):
        assert abs(float(noise.between(one, other).std()) - 1) < 0.05
