"""A backend for Velesio that answers with the prompt in capitals: the example of docs/writing-a-backend.md."""

from velesio.backends.base import ModelCard
from velesio.jobs import Cancelled, Completed, Completion, Delta, Failed, Started, TextResult


class ShoutEngine:
    def __init__(self):
        self.held = {}  # work → the words that it still has to say

    def admit(self, work):
        if len(self.held) == 4:
            return False
        if isinstance(work.job.params, Completion):
            work.emit(Started())
            self.held[work] = str(work.job.params.prompt).upper().split(" ")
        else:
            work.emit(Failed("not_supported", "this model only completes texts"))
        return True

    def step(self):
        for work, words in list(self.held.items()):
            if words and not work.cancelled:
                work.emit(Delta(words.pop(0) + " " * bool(words)))
            else:
                del self.held[work]
                text = str(work.job.params.prompt).upper()
                work.emit(Cancelled() if work.cancelled else Completed(TextResult(text)))

    def close(self):
        self.held.clear()


class Shout:
    name = "shout"

    def __init__(self, catalogue):
        self.names = [spec.name for spec in catalogue.specs]

    def models(self):
        return [ModelCard(name=name, backend="shout", capability="text", slots=4, bytes=1024) for name in self.names]

    def load(self, card, report):
        report(1.0)
        return ShoutEngine()
