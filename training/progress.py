"""Progress: a training run that tells how far it is, saves itself and goes on after a kill."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

LOG_SECONDS = 20.0
SAVE_SECONDS = 90.0

log = logging.getLogger("training")


class Average:
    """Exponential moving average of a model's parameters; early steps count less, so that a short run has one too."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        self.live = list(parameters)
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in self.live]

    def update(self, step: int) -> None:
        """Takes in the parameters after this step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self.live], 1 - decay)

    def apply(self) -> None:
        """Makes the average the model's parameters."""
        with torch.no_grad():
            torch._foreach_copy_(self.live, self.values)


class Run:
    """One stage of the training: optimiser, average, learning rate, checkpoints in `folder` under `name`.

    Each step draws its randomness from (seed, step), so a run that was killed goes on as if nothing had happened.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        parameters: Iterable[torch.nn.Parameter],
        *,
        steps: int,
        rate: float,
        warmup: int = 200,
        decay: float = 0.999,
        seed: int = 0,
    ) -> None:
        self.name, self.steps, self.rate, self.warmup, self.seed = name, steps, rate, min(warmup, steps // 4 + 1), seed
        self.path = folder / f"{name}.run.pt"
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.99), weight_decay=1e-2, foreach=True)
        self.average = Average(self.parameters, decay)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.load(torch.load(self.path, weights_only=True))

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine to a fiftieth."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))

    def generator(self) -> torch.Generator:
        """This step's randomness."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)

    def train(
        self, loss_of: Callable[[torch.Generator], torch.Tensor], watch: Callable[[], None] | None = None
    ) -> None:
        """Takes the steps that are left; `watch` sees each save with the average in the model's place."""
        logged = saved = time.monotonic()
        since, total, counted = self.step, 0.0, 0
        while self.step < self.steps:
            total, counted = total + self.advance(loss_of), counted + 1
            now = time.monotonic()
            if now - logged > LOG_SECONDS or self.step == self.steps:
                pace = (now - logged) / max(1, self.step - since)
                left = (self.steps - self.step) * pace / 60
                mean = total / counted
                log.info(
                    "%s %d/%d loss %.5f, %.2f s a step, %.0f min left",
                    self.name,
                    self.step,
                    self.steps,
                    mean,
                    pace,
                    left,
                )
                logged, since, total, counted = now, self.step, 0.0, 0
            if now - saved > SAVE_SECONDS or self.step == self.steps:
                saved = now
                self.save()
                if watch:
                    self.averaged(watch)
        self.average.apply()

    def advance(self, loss_of: Callable[[torch.Generator], torch.Tensor]) -> float:
        """One step of the optimiser; returns its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate_at(self.step)
        loss = loss_of(self.generator())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.step)
        return float(loss.detach())

    def averaged(self, watch: Callable[[], None]) -> None:
        """Calls `watch` with the average as the model's parameters."""
        live = [parameter.detach().clone() for parameter in self.parameters]
        self.average.apply()
        with torch.no_grad():
            watch()
            torch._foreach_copy_(self.parameters, live)

    def save(self) -> None:
        """Writes the run beside its old checkpoint, then takes that one's name."""
        state: dict[str, Any] = {
            "step": self.step,
            "live": [parameter.detach() for parameter in self.parameters],
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def load(self, state: dict[str, Any]) -> None:
        """Goes on where a saved run was."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, state["live"])
        self.average.values = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        log.info("%s goes on at step %d", self.name, self.step)
