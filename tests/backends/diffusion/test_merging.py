"""Merging: which tokens are put together, and that each gets its place back."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio
from velesio.backends.diffusion.merging import MOST, plan
from velesio.jobs import Hires, Image


def tokens(rows: int = 2, height: int = 6, width: int = 8, channels: int = 5) -> Any:
    return torch.randn(rows, height * width, channels, generator=torch.Generator().manual_seed(1))


def test_as_many_are_merged_as_are_asked_for() -> None:
    """A part of all tokens; never those in the corners of the squares."""
    x = tokens()
    for share, left in ((0.25, 36), (0.5, 24), (0.9, 12)):
        assert plan(x, share, 6, 8).merge(x).shape == (2, left, 5)


def test_what_is_parted_has_its_place_again() -> None:
    """Tokens that were not merged are themselves; merged ones are what they were merged into."""
    x = tokens()
    found = plan(x, 0.5, 6, 8)
    again = found.part(found.merge(x))
    for row in range(2):
        merged = set(found.others[found.merged[row]].tolist())
        into = set(found.staying[found.into[row]].tolist())
        for place in range(48):
            same = torch.equal(again[row, place], x[row, place])
            assert same != (place in merged | into)
        for lost, kept in zip(found.others[found.merged[row]], found.staying[found.into[row]], strict=True):
            assert torch.equal(again[row, lost], again[row, kept])


def test_the_most_alike_are_merged_into_their_mean() -> None:
    """By the angle between them: of three likenesses the two greatest."""
    x = torch.eye(16)[None].clone()
    for place, corner, length in ((1, 0, 2.0), (7, 10, 3.0), (13, 8, 1.0)):
        x[0, place] = x[0, corner] * length + (torch.eye(16)[place] if place == 13 else 0)
    found = plan(x, 2 / 16, 4, 4)
    pairs = zip(found.others[found.merged[0]].tolist(), found.staying[found.into[0]].tolist(), strict=True)
    assert set(pairs) == {(1, 0), (7, 10)}
    assert torch.equal(found.part(found.merge(x))[0, 0], torch.eye(16)[0] * 1.5)


def test_sides_may_be_odd() -> None:
    """Every token has one place."""
    x = tokens(height=5, width=7)
    found = plan(x, 0.3, 5, 7)
    assert sorted(torch.cat([found.staying, found.others]).tolist()) == list(range(35))
    assert found.part(found.merge(x)).shape == x.shape


def test_rows_are_merged_each_for_itself() -> None:
    """A row is the same alone and among others."""
    x = tokens(rows=3)
    whole = plan(x, 0.5, 6, 8)
    alone = plan(x[1:2], 0.5, 6, 8)
    assert torch.equal(whole.part(whole.merge(x))[1:2], alone.part(alone.merge(x[1:2])))


def test_pictures_change_with_the_part_and_not_without(studio: Studio) -> None:
    """0 is the picture without; more moves it further away; afterwards nothing is left on the network."""
    plain = studio.picture()
    some, most = (studio.picture(merging=share) for share in (0.2, MOST))
    assert 0 < np.abs(some - plain).mean() < np.abs(most - plain).mean()
    assert (studio.picture() == plain).all()
    unet: nn.Module = studio.engine._models.own.unet  # type: ignore[attr-defined]
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_merged_and_unmerged_pictures_are_drawn_together(studio: Studio) -> None:
    """Each as it would be alone."""
    jobs = [Image("a fox", seed=3, steps=5, merging=share) for share in (0.0, 0.5)]
    finals = studio.finish(*[studio.start(job) for job in jobs])
    for job, final in zip(jobs, finals, strict=True):
        alone = studio.result(merging=job.merging).pictures[0]
        assert tiny.difference(final.result.pictures[0], alone) <= 1


def test_the_second_pass_has_its_own_part(studio: Studio) -> None:
    """And the first pass none of it."""
    plain, merged = (studio.picture(hires=Hires(denoising=0.5, merging=share)) for share in (0.0, 0.5))
    assert np.abs(plain - merged).max() > 0


@pytest.mark.parametrize("share", [-0.1, 0.95])
def test_parts_beyond_the_limits_are_refused(studio: Studio, share: float) -> None:
    """By name."""
    assert "merging" in studio.refusal(merging=share).message
    assert "merging" in studio.refusal(hires=Hires(merging=share)).message
