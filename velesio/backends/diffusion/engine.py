"""The engine: pictures that share their steps. Each is a generator that asks for predictions; a step answers one group
of alike calls, and pictures join and leave between steps."""

import logging
import time
import traceback
from collections import defaultdict
from collections.abc import Generator, Sequence
from itertools import count
from typing import Any

import torch

from velesio.backends.base import Work, failed
from velesio.backends.diffusion import calls, facts, making, preparing
from velesio.backends.diffusion.answers import answers
from velesio.backends.diffusion.asides import Asides
from velesio.backends.diffusion.calls import Call, Key
from velesio.backends.diffusion.device import Device, is_out_of_memory
from velesio.backends.diffusion.models import Models
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.pace import Pace
from velesio.backends.diffusion.preparing import Prepared
from velesio.backends.diffusion.request import Request
from velesio.backends.diffusion.turns import Turns
from velesio.errors import OutOfMemory, VelesioError
from velesio.jobs import Cancelled, Completed, Failed, Final, ImageAside, Started

_log = logging.getLogger(__name__)


class _Task:
    """A generator under way, with the call that it waits for."""

    def __init__(self, request: Request, number: int, index: int, path: Generator[Call, Any, Any]) -> None:
        self.request = request
        self.number = number
        """Of the request: older ones are served first."""
        self.index = index
        """Of the path; -1: the preparation of all."""
        self.path = path
        self.call = next(path)


class DiffusionEngine:
    """One loaded checkpoint; every call on one thread."""

    def __init__(self, models: Models, device: Device, options: Options) -> None:
        self._models = models
        self._device = device
        self._options = options
        self._tasks: list[_Task] = []
        self._requests: dict[Request, int] = {}
        """With their numbers."""
        self._pace = Pace(device.rows)
        self._turns = Turns(options.turn)
        self._numbers = count()
        self._asides = Asides(models, options)

    def admit(self, work: Work) -> bool:
        """Takes `work` if a slot is free, or it is an aside; a job that cannot be served is answered with `Failed`."""
        if isinstance(work.job.params, ImageAside):
            self._asides.take(work, work.job.params)
            return True
        if len(self._requests) >= self._options.slots:
            return False
        try:
            request = Request(work, self._models, self._options)
        except VelesioError as error:
            work.emit(failed(error))
            return True
        except Exception as error:
            work.emit(Failed("internal_error", repr(error), traceback=traceback.format_exc()))
            return True
        number = self._requests[request] = next(self._numbers)
        work.emit(Started(self._models.own.conditioner.tokens(request.prompt)))
        self._begin(request, number, -1, preparing.prepare(request))
        return True

    def step(self) -> None:
        """Answers one group of calls, and does a piece of an aside."""
        self._asides.step()
        self._drop_cancelled()
        waiting: dict[Key, list[_Task]] = defaultdict(list)
        for task in self._tasks:
            waiting[task.call.key].append(task)
        if not waiting:
            return
        key = self._turns.choose({key: len({task.number for task in tasks}) for key, tasks in waiting.items()})
        group = self._group(key, sorted(waiting[key], key=lambda task: (task.number, task.index)))
        began = time.perf_counter()
        self._serve(group)
        self._turns.spent(key, time.perf_counter() - began, len({task.number for task in waiting[key]}))

    def close(self) -> None:
        """Frees the checkpoint and everything loaded with it."""
        self._asides.close()
        for task in self._tasks:
            task.path.close()
        self._tasks.clear()
        self._requests.clear()
        self._models.drop()
        del self._models
        self._device.free()

    # groups

    def _group(self, key: Key, tasks: Sequence[_Task]) -> list[_Task]:
        """The oldest of the tasks, as many as it pays to compute together."""
        sizes = [calls.size(task.call) for task in tasks]
        room = self._pace.rows(_shape(key), sum(sizes), sizes[0])
        group: list[_Task] = []
        for task, size in zip(tasks, sizes, strict=True):
            if group and size > room:
                break
            group.append(task)
            room -= size
        return group

    def _serve(self, group: Sequence[_Task]) -> None:
        """Computes a group and lets its members go on."""
        try:
            found = self._computed(group)
        except Exception as error:
            self._mend(group, error)
            return
        for task, answer in zip(group, found, strict=True):
            self._go_on(task, answer)

    def _computed(self, group: Sequence[_Task]) -> list[Any]:
        began = time.perf_counter()
        found = answers(self._models, [task.call for task in group])
        rows = sum(calls.size(task.call) for task in group)
        self._pace.observe(_shape(group[0].call.key), rows, time.perf_counter() - began)
        return found

    def _mend(self, group: Sequence[_Task], error: Exception) -> None:
        """After an error: memory is freed and the group halved until whoever is at fault is alone, and fails alone."""
        if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
            raise error  # the device itself is lost, for everybody
        short = is_out_of_memory(error)
        if short:
            _log.warning("out of memory with %d calls together", len(group))
            error.__traceback__ = None  # it holds the tensors of the failed call
            self._models.drop()
        if len(group) > 1:
            half = len(group) // 2
            self._serve(group[:half])
            self._serve([task for task in group[half:] if task in self._tasks])
        elif short and not group[0].request.retried:
            group[0].request.retried = True
            self._serve(group)
        else:
            self._fail(group[0].request, OutOfMemory(_too_large(group[0].request)) if short else error)

    # tasks

    def _begin(self, request: Request, number: int, index: int, path: Generator[Call, Any, Any]) -> None:
        try:
            self._tasks.append(_Task(request, number, index, path))
        except StopIteration as end:
            self._ended(request, index, end.value)
        except Exception as error:
            self._fail(request, error)

    def _go_on(self, task: _Task, answer: Any) -> None:
        if task not in self._tasks:
            return  # another of its request's pictures failed in this very step
        try:
            task.call = task.path.send(answer)
        except StopIteration as end:
            self._tasks.remove(task)
            self._ended(task.request, task.index, end.value)
        except Exception as error:
            self._fail(task.request, error)

    def _ended(self, request: Request, index: int, value: Any) -> None:
        """A generator came to its end: the preparation, or one of the pictures."""
        if index < 0:
            prepared: Prepared = value
            for each in range(request.paths):
                if request in self._requests:
                    self._begin(request, self._requests[request], each, making.made(request, prepared, each))
        elif request.complete:
            self._end(request, Completed(request.result(facts.table(request))))

    def _fail(self, request: Request, error: Exception) -> None:
        if isinstance(error, VelesioError):
            self._end(request, failed(error))
        else:
            trace = "".join(traceback.format_exception(error))
            self._end(request, Failed("internal_error", repr(error), traceback=trace))

    def _end(self, request: Request, final: Final) -> None:
        """Frees what a request holds and emits its final event."""
        mine = [task for task in self._tasks if task.request is request]
        self._tasks = [task for task in self._tasks if task.request is not request]
        for task in mine:
            task.path.close()
        if self._requests.pop(request, None) is not None:
            request.work.emit(final)

    def _drop_cancelled(self) -> None:
        for request in list(self._requests):
            if request.work.cancelled:
                self._end(request, Cancelled())


def _shape(key: Key) -> tuple[Any, ...]:
    """What the duration of a call depends on."""
    return key.kind, key.setting.checkpoint, key.shape


def _too_large(request: Request) -> str:
    return (
        f"there is not enough memory for a picture of {request.sizes.second or request.sizes.drawn} pixels; ask for a "
        "smaller one, or set vae_tiling, offload or attention = 'sliced' for this model"
    )
