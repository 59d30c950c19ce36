"""Captions: words for a scene, and random scenes to draw."""

import re
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from training.drawing import COLOURS, SIZES, Scene, background_of, contrast
from training.forms import FORMS

COUNTS = ("", "one", "two", "three")
SIZE_WORDS = {"small": ("small", "tiny", "little"), "medium": ("",), "large": ("large", "big", "huge")}
PLACE_WORDS = {
    "centre": ("",),
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
SPELLINGS = {"gray": ("gray", "grey"), "purple": ("purple", "violet")}
PLURALS = {"cross": "crosses"}
OPENINGS = ("", "", "", "", "a picture of", "an icon of", "a drawing of", "sprite of", "game sprite of", "an image of")
TAGS = (
    "game sprite", "icon", "sprite", "game asset", "flat design", "2d", "simple", "vector art", "best quality",
    "masterpiece", "high quality", "clean", "cartoon", "digital art", "sharp", "detailed", "cute", "pixel perfect",
)  # fmt: skip
NOISE_WORDS = (
    "blurry", "bad", "anatomy", "worst", "low", "ugly", "hands", "deformed", "text", "watermark", "photo", "person",
    "beautiful", "trending", "artstation", "lighting", "cinematic", "style", "render", "the", "with", "and",
    "very", "nice", "great", "concept", "illustration", "fantasy", "game", "item", "object", "shape", "colour", "color",
)  # fmt: skip
"""Words that people write and that mean nothing here: seen now and then, so that they do no harm."""

MIN_CONTRAST = 105.0
HELD_OUT_SHARE = 12
"""One of so many combinations of form, colour and background is never trained on."""


def held_out(scene: Scene) -> bool:
    """Whether this combination is kept for the evaluation."""
    return zlib.crc32(f"{scene.form}/{scene.colour}/{scene.background}".encode()) % HELD_OUT_SHARE == 0


def visible(scene: Scene) -> bool:
    """Whether the form stands out from its background."""
    return contrast(COLOURS[scene.colour], background_of(scene)) >= MIN_CONTRAST


def random_scene(random: np.random.Generator) -> Scene:
    """Any visible scene; most show one form of medium size in the middle."""
    while True:
        count = int(random.choice((1, 1, 1, 1, 1, 1, 2, 3)))
        size = "medium" if count > 1 else str(random.choice(list(SIZES), p=(0.2, 0.6, 0.2)))
        moved = count == 1 and size != "large" and random.random() < 0.25
        scene = Scene(
            form=str(random.choice(list(FORMS))),
            colour=str(random.choice(list(COLOURS))),
            background=str(random.choice(list(COLOURS))) if random.random() < 0.5 else None,
            count=count,
            size=size,
            position=str(random.choice(list(PLACE_WORDS)[1:])) if moved else "centre",
        )
        if visible(scene):
            return scene


def training_scenes(seed: int) -> Iterator[Scene]:
    """An endless row of scenes without those that are held out."""
    random = np.random.default_rng(seed)
    while True:
        scene = random_scene(random)
        if not held_out(scene):
            yield scene


def held_out_scenes(count: int, seed: int = 2026) -> list[Scene]:
    """Different scenes that were never trained on, forms and colours as even as chance allows."""
    random = np.random.default_rng(seed)
    found: dict[tuple[str, str, str | None], Scene] = {}
    while len(found) < count:
        scene = random_scene(random)
        if held_out(scene) and scene.count == 1:
            found.setdefault((scene.form, scene.colour, scene.background), scene)
    return list(found.values())


def noun_phrase(scene: Scene, random: np.random.Generator) -> str:
    """The forms by count, size and colour: 'a small red circle', 'two green stars'."""
    colour = str(random.choice(SPELLINGS.get(scene.colour, (scene.colour,))))
    size = str(random.choice(SIZE_WORDS[scene.size]))
    if scene.count > 1:
        words = [COUNTS[scene.count], colour, PLURALS.get(scene.form, scene.form + "s")]
        return " ".join(words)
    words = [word for word in (size, colour, scene.form) if word]
    if random.random() < 0.06:
        return ", ".join([scene.form, colour, *([size] if size else [])])
    article = str(random.choice(("a", "a", "one", "")))
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *words]).strip()


def noise_words(random: np.random.Generator) -> str:
    """One to three words without a meaning, known ones or made of random letters."""
    words = [str(word) for word in random.choice(NOISE_WORDS, size=int(random.integers(1, 4)))]
    if random.random() < 0.5:
        letters = random.choice(list("abcdefghijklmnopqrstuvwxyz0123456789-.!"), size=int(random.integers(3, 9)))
        words[-1] = "".join(letters)
    return " ".join(words)


def vocabulary(random: np.random.Generator, count: int = 3000) -> Counter[str]:
    """How often each word of letters is written in random captions; every word of the lists at least once."""
    words = Counter(NOISE_WORDS)
    for _ in range(count):
        words.update(re.findall("[a-z]+", caption(random_scene(random), random)))
    return words


def caption(scene: Scene, random: np.random.Generator) -> str:
    """A caption that says everything that is not the default of the scene."""
    text = " ".join(word for word in (str(random.choice(OPENINGS)), noun_phrase(scene, random)) if word)
    place = str(random.choice(PLACE_WORDS[scene.position]))
    if place:
        text += random.choice((" ", ", ")) + place
    if scene.background is not None:
        article = "an" if scene.background[0] in "aeiou" else "a"
        forms = (
            f" on {article} {scene.background} background",
            f", {scene.background} background",
            f" on {scene.background}",
        )
        text += str(random.choice(forms, p=(0.5, 0.4, 0.1)))
    if random.random() < 0.08:
        text = ", ".join([text, noise_words(random)])
    elif random.random() < 0.25:
        tags = random.choice(TAGS, size=int(random.integers(1, 3)), replace=False)
        text = ", ".join([text, *tags]) if random.random() < 0.75 else ", ".join([*tags, text])
    return text
