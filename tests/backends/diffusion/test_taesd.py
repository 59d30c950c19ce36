"""TAESD: small autoencoders from files in either layout, and the jobs that use them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio, subject_of
from velesio.backends.diffusion import taesd
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.options import Options
from velesio.errors import JobFailed, ModelLoadFailed
from velesio.jobs import Image, Preview

CPU = Device(Options(device="cpu"))


@pytest.fixture(scope="module")
def coder() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return AutoencoderTiny().eval()


def sides(coder: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Both sides as the first release has them: each in a file, the decoder's layers counted from 1."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, shift in (("encoder", 0), ("decoder", 1)):
        state = getattr(coder, name).layers.state_dict()
        split = [(key.partition("."), tensor) for key, tensor in state.items()]
        found[name] = {f"{int(number) + shift}.{rest}": tensor for (number, _, rest), tensor in split}
    return found


def test_both_layouts_are_the_same_network(coder: Any, tmp_path: Path) -> None:
    """One file with diffusers' names, or two with the first ones: what diffusers itself gives."""
    whole = tiny.save(tmp_path / "taesd.safetensors", coder.state_dict())
    parted = [tiny.save(tmp_path / f"taesd_{name}.safetensors", state) for name, state in sides(coder).items()]
    pixels, latents = torch.rand(1, 3, 32, 40), torch.randn(1, 4, 4, 5)
    with torch.inference_mode():
        encoded, decoded = coder.encode(pixels * 2 - 1).latents, coder.decode(latents).sample
    for files in ([whole], parted):
        loaded = taesd.load(files, CPU, allow_pickle=False)
        assert torch.allclose(loaded.encode(pixels), encoded, atol=1e-5)
        assert torch.allclose(loaded.decode(latents), (decoded / 2 + 0.5).clamp(0, 1), atol=1e-5)


def test_half_of_one_does_half(coder: Any, tmp_path: Path) -> None:
    """A side that is missing is named; a file that is something else is refused; NaN is no picture."""
    file = tiny.save(tmp_path / "taesd_decoder.safetensors", sides(coder)["decoder"])
    half = taesd.load([file], CPU, allow_pickle=False)
    assert half.decode(torch.randn(1, 4, 4, 4)).shape == (1, 3, 32, 32)
    with pytest.raises(JobFailed, match="no encoder"):
        half.encode(torch.rand(1, 3, 32, 32))
    with pytest.raises(JobFailed, match="NaN"):
        half.decode(torch.full((1, 4, 4, 4), float("nan")))
    other = tiny.save(tmp_path / "other.safetensors", {"a": torch.ones(2)})
    with pytest.raises(ModelLoadFailed, match="no TAESD"):
        taesd.load([other], CPU, allow_pickle=False)


@pytest.fixture(scope="module")
def small(coder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """An engine whose folder has one."""
    place = tmp_path_factory.mktemp("small")
    tiny.write(place / "checkpoints" / "tiny.safetensors")
    tiny.save(place / "taesd" / "taesd.safetensors", coder.state_dict())
    studio = Studio(subject_of(place))
    yield studio
    studio.engine.close()


def test_jobs_choose_it_by_way_and_side(small: Studio) -> None:
    """Decoding and encoding each change the picture, and the text says which."""
    given = (tiny.png(np.full((64, 64, 3), 90)),)
    plain = small.result(init=given)
    for field, said in (("decode_by", "VAE Decoder: TAESD"), ("encode_by", "VAE Encoder: TAESD")):
        found = small.result(init=given, **{field: "tiny"})
        assert tiny.difference(found.pictures[0], plain.pictures[0]) > 0
        assert said in found.infotexts[0]
        assert said not in plain.infotexts[0]


def test_without_one_a_job_is_refused(studio: Studio) -> None:
    """With the file that is wanted and where; previews are made the other way."""
    assert "taesd.safetensors into taesd/" in studio.refusal(decode_by="tiny").message
    assert "taesd.safetensors into taesd/" in studio.refusal(encode_by="tiny").message
    assert previews(studio, preview_by="tiny") == previews(studio)


def previews(studio: Studio, **fields: Any) -> list[bytes]:
    work = studio.start(Image("a fox", seed=3, steps=4, preview_every=2, **fields), stream=True)
    studio.finish(work)
    return [event.picture for event in studio.of(work) if isinstance(event, Preview)]


def test_previews_are_made_in_three_ways(small: Studio) -> None:
    """By a matrix, by the small autoencoder, by the VAE: the last one shows the picture itself. In their own format."""
    made = {way: previews(small, preview_by=way, preview_form="jpeg") for way in ("matrix", "tiny", "vae")}
    assert [len(files) for files in made.values()] == [2, 2, 2]
    assert all(file.startswith(b"\xff\xd8") for files in made.values() for file in files)
    assert len({files[-1] for files in made.values()}) == 3
    [_, last] = previews(small, preview_by="vae")
    assert tiny.difference(last, small.result(steps=4).pictures[0]) <= 1
