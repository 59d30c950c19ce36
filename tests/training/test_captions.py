"""Captions and which scenes are kept for the evaluation."""

from itertools import islice

import numpy as np

from training.captions import (
    SPELLINGS,
    caption,
    held_out,
    held_out_scenes,
    random_scene,
    training_scenes,
    visible,
    vocabulary,
)
from training.evaluation import held_out_prompts


def test_a_caption_names_form_colour_background_and_count():
    """In any wording."""
    random = np.random.default_rng(1)
    for _ in range(500):
        scene = random_scene(random)
        text = caption(scene, random)
        assert scene.form in text
        assert any(word in text for word in SPELLINGS.get(scene.colour, (scene.colour,)))
        assert scene.background is None or scene.background in text
        assert scene.count == 1 or {2: "two", 3: "three"}[scene.count] in text or "," in text


def test_held_out_scenes_are_never_trained_on():
    """Not one combination of form, colour and background of the evaluation occurs in training."""
    asked = held_out_scenes(100)
    kept = {(scene.form, scene.colour, scene.background) for scene in asked}
    trained = {(scene.form, scene.colour, scene.background) for scene in islice(training_scenes(0), 3000)}
    assert len(kept) == 100
    assert kept.isdisjoint(trained)
    assert all(held_out(scene) and visible(scene) for scene in asked)


def test_the_evaluation_asks_for_every_form_and_colour():
    """And always for the same captions."""
    asked = held_out_prompts(100)
    assert len({scene.form for scene, _ in asked}) == 16
    assert len({scene.colour for scene, _ in asked}) == 11
    assert asked == held_out_prompts(100)


def test_every_word_of_the_lists_is_in_the_vocabulary():
    """Words of captions and words that mean nothing."""
    words = vocabulary(np.random.default_rng(0), 800)
    assert {"circle", "house", "purple", "violet", "grey", "background", "blurry", "three", "tiny"} <= set(words)
