"""The command line of the training: `scripts/train-demo-checkpoint`."""

import argparse
import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from training.adapter import train_adapter
from training.autoencoder import train_autoencoder, train_decoder
from training.concept import train_concept
from training.control import train_control
from training.denoiser import train_denoiser
from training.evaluation import evaluate
from training.export import export
from training.painting import sample

NAME = "velesio-demo"
ABOUT = {
    "modelspec.title": NAME,
    "modelspec.description": "Game sprites and shapes; trained on pictures that scripts/train-demo-checkpoint draws",
    "modelspec.license": "Apache-2.0",
    "modelspec.resolution": "64x64",
    "modelspec.prediction_type": "epsilon",
}


@dataclass(frozen=True)
class Plan:
    """How much to train."""

    pictures: int
    autoencoder_steps: int
    decoder_steps: int
    denoiser_steps: int
    judged: int
    sampling: int
    """Steps of each picture that is looked at."""
    extra_pictures: int
    extra_steps: int
    """Of the adapter and the concept, each."""
    control_steps: int


FULL = Plan(
    pictures=12000,
    autoencoder_steps=6000,
    decoder_steps=1500,
    denoiser_steps=8000,
    judged=100,
    sampling=20,
    extra_pictures=2000,
    extra_steps=600,
    control_steps=1600,
)
QUICK = Plan(
    pictures=48,
    autoencoder_steps=3,
    decoder_steps=2,
    denoiser_steps=3,
    judged=2,
    sampling=1,
    extra_pictures=16,
    extra_steps=2,
    control_steps=2,
)
SIDE = 64


def autoencoder_of(folder: Path, plan: Plan) -> AutoencoderKL:
    """The finished autoencoder in `folder`, trained first when it is not there."""
    finished = folder / "vae"
    if not finished.exists():
        model = train_autoencoder(folder, side=SIDE, pictures=plan.pictures // 2, steps=plan.autoencoder_steps)
        train_decoder(folder, model, pictures=plan.pictures // 2, steps=plan.decoder_steps)
        model.save_pretrained(finished)
    return AutoencoderKL.from_pretrained(finished, low_cpu_mem_usage=False).requires_grad_(False).eval()


def train(folder: Path, plan: Plan) -> StableDiffusionPipeline:
    """Trains what is not yet trained."""
    autoencoder = autoencoder_of(folder, plan)
    measures = {"side": SIDE, "pictures": plan.pictures, "steps": plan.denoiser_steps, "sampling": plan.sampling}
    return train_denoiser(folder, autoencoder, **measures)


def extras(folder: Path, pipeline: StableDiffusionPipeline, out: Path, plan: Plan) -> None:
    """Trains what can be put onto the checkpoint: a style, a control and a concept."""
    measures = {"pictures": plan.extra_pictures, "steps": plan.extra_steps}
    train_adapter(folder, pipeline, out / "loras" / "outline.safetensors", style="outline", **measures)
    steps = {**measures, "steps": plan.control_steps}
    train_control(folder, pipeline, out / "controlnet" / f"{NAME}-canny.safetensors", **steps)
    train_concept(folder, pipeline, out / "embeddings" / "night.safetensors", **measures)


def main() -> None:
    """Trains, exports and judges."""
    parser = argparse.ArgumentParser(prog="scripts/train-demo-checkpoint", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo-checkpoint"), help="runs go on from here after a kill"
    )
    parser.add_argument("--out", type=Path, help="where the checkpoint goes (default: demo in the work folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it works")
    parser.add_argument("--steps", type=int, help="of the denoiser; more than before: a finished run goes on")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the processor")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    plan = QUICK if options.quick else FULL
    plan = replace(plan, denoiser_steps=options.steps or plan.denoiser_steps)
    pipeline = train(options.work, plan)
    out = options.out or options.work / "demo"
    path = out / f"{NAME}.safetensors"
    export(pipeline, path, ABOUT)
    extras(options.work, pipeline, out, plan)
    score = evaluate(partial(sample, pipeline, steps=plan.sampling), options.work, plan.judged)
    logging.getLogger("training").info("%s, %.1f MB: %s", path, path.stat().st_size / 1e6, score)


if __name__ == "__main__":
    main()
