"""Asides: jobs that hold no slot of the engine: pictures enlarged, shown as a ControlNet is shown them, put on a sheet.

Each is a generator that rests after every piece of work, so that the pictures in the making go on meanwhile.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any

from velesio.backends.base import Work, failed
from velesio.backends.diffusion import canvas, detecting, enlarging, sheet
from velesio.backends.diffusion.device import is_out_of_memory
from velesio.backends.diffusion.models import Models
from velesio.backends.diffusion.options import Options
from velesio.errors import OutOfMemory, VelesioError
from velesio.jobs import Cancelled, Completed, Detect, Enlarge, Failed, Final, ImageResult, Progress, Sheet, Started

Path = Generator[None, None, ImageResult]


class Asides:
    """Those that an engine has taken, in their order."""

    def __init__(self, models: Models, options: Options) -> None:
        self._models = models
        self._options = options
        self._under_way: deque[_Aside] = deque()

    def take(self, work: Work, params: Enlarge | Detect | Sheet) -> None:
        """Takes any number of them."""
        work.emit(Started())
        self._under_way.append(_Aside(work, _PATHS[type(params)](params, self._models, self._options)))

    def step(self) -> None:
        """One piece of the one whose turn it is."""
        for _ in range(len(self._under_way)):
            aside = self._under_way.popleft()
            if aside.work.cancelled:
                aside.path.close()
                aside.work.emit(Cancelled())
                continue
            final = aside.advance()
            if final is None:
                self._under_way.append(aside)
            else:
                aside.work.emit(final)
            return

    def close(self) -> None:
        """Forgets them."""
        for aside in self._under_way:
            aside.path.close()
        self._under_way.clear()


class _Aside:
    """One of them under way."""

    def __init__(self, work: Work, path: Path) -> None:
        self.work = work
        self.path = path
        self._began = time.monotonic()
        self._done = 0

    def advance(self) -> Final | None:
        """One piece; None: there are more."""
        try:
            next(self.path)
        except StopIteration as end:
            result: ImageResult = end.value
            return Completed(result)
        except VelesioError as error:
            return failed(error)
        except Exception as error:
            if is_out_of_memory(error):
                return failed(
                    OutOfMemory("there is not enough memory for a picture of that size; ask for a smaller one")
                )
            return Failed("internal_error", repr(error), traceback=traceback.format_exc())
        self._done += 1
        if self.work.job.stream:
            milliseconds = (time.monotonic() - self._began) * 1000
            total = max(self._done, len(getattr(self.work.job.params, "pictures", ())))
            self.work.emit(Progress(self._done, total, ms=milliseconds))
        return None


def _enlarge(params: Enlarge, models: Models, options: Options) -> Path:
    first, second = enlarging.upscalers(params, models)
    files, texts, size = [], [], (0, 0)
    for file in params.pictures:
        enlarged, text = enlarging.enlarged(file, params, first, second, options.max_enlarged)
        files.append(enlarged.file)
        texts.append(text)
        size = enlarged.size
        yield
    return ImageResult(tuple(files), infotexts=tuple(texts), width=size[0], height=size[1])


def _detect(params: Detect, _models: Models, _options: Options) -> Path:
    files = []
    for index in range(len(params.pictures)):
        files.append(canvas.png(canvas.of_array(detecting.detected(params, index))))
        yield
    return ImageResult(tuple(files))


def _sheet(params: Sheet, _models: Models, options: Options) -> Path:
    image = sheet.arranged(params, options.max_enlarged)
    yield
    return ImageResult(
        (canvas.encoded(image, "", params.form, params.quality),), width=image.width, height=image.height
    )


_PATHS: Mapping[type, Callable[[Any, Models, Options], Path]] = {Enlarge: _enlarge, Detect: _detect, Sheet: _sheet}
