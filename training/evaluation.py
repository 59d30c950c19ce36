"""Evaluation: how many pictures show what their captions asked for, and sheets to look at."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.captions import caption, held_out_scenes
from training.drawing import Scene
from training.pictures import sheet
from training.reading import read

Painter = Callable[[Sequence[str]], np.ndarray]
"""Prompts to pictures: uint8, shape (n, side, side, 3)."""

CONTACT_PROMPTS = (
    "a red circle", "a blue square", "a green triangle", "a yellow star", "a pink heart, sprite", "a purple diamond",
    "a white cross on a red background", "an orange ring", "a yellow moon on a black background", "a gray sword",
    "a blue shield, game asset", "a purple potion", "an orange key on a gray background", "a large yellow coin",
    "a green tree on a white background", "a brown house", "a small red heart", "two blue stars", "three green coins",
    "a black circle on the left", "a pink tree at the top, blue background", "white potion, purple background",
    "a huge red house on a yellow background", "grey shield on an orange background",
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """Of `total` pictures, how many have the right form, the right colour, and both."""

    total: int
    form: int
    colour: int
    both: int
    wrong: tuple[str, ...] = ()
    """What went wrong, a line for each picture."""

    def __str__(self) -> str:
        return f"{self.both} of {self.total} right in form and colour ({self.form} forms, {self.colour} colours)"


def held_out_prompts(count: int, seed: int = 2026) -> list[tuple[Scene, str]]:
    """Scenes that were never trained on, each with a caption."""
    random = np.random.default_rng(seed)
    return [(scene, caption(scene, random)) for scene in held_out_scenes(count, seed)]


def judge(asked: Sequence[tuple[Scene, str]], pictures: np.ndarray) -> Score:
    """Compares what was asked for with what can be seen."""
    forms, colours, wrong = [], [], []
    for (scene, prompt), picture in zip(asked, pictures, strict=True):
        seen = read(picture)
        forms.append(seen is not None and seen.form == scene.form)
        colours.append(seen is not None and seen.colour == scene.colour)
        if not (forms[-1] and colours[-1]):
            wrong.append(f"{prompt}: {'nothing' if seen is None else f'{seen.colour} {seen.form}'}")
    both = sum(form and colour for form, colour in zip(forms, colours, strict=True))
    return Score(len(forms), sum(forms), sum(colours), both, tuple(wrong))


def evaluate(paint: Painter, folder: Path, count: int = 100) -> Score:
    """Paints held-out captions and the contact sheet; writes score.json and two sheets into `folder`."""
    asked = held_out_prompts(count)
    pictures = paint([prompt for _, prompt in asked])
    score = judge(asked, pictures)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score.json").write_text(json.dumps(asdict(score), indent=2) + "\n", encoding="utf-8")
    sheet(pictures, columns=min(count, 20), scale=1).save(folder / "held-out.png")
    sheet(paint(CONTACT_PROMPTS), columns=6, scale=2, gap=4).save(folder / "contact-sheet.png")
    return score
