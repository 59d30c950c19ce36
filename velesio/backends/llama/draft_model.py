"""Guesses by a small model with the same vocabulary: cheap enough to run ahead of the large one."""

from array import array
from collections.abc import Sequence as Items

from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.prefix_cache import common_prefix
from velesio.backends.llama.sequence import Sequence
from velesio.errors import ModelLoadFailed

_SURE = 0.5
"""Probability below which a token is not guessed, nor what would follow it."""


class DraftModel:
    """A `Drafter` with a context of its own, in which every slot has its cells."""

    def __init__(self, model: Model, context: Context, target: Model) -> None:
        """Guesses for `target`, which must have the same tokens.

        Raises:
            ModelLoadFailed: if it has others.
        """
        if model.n_vocab != target.n_vocab or model.piece(model.n_vocab - 1) != target.piece(target.n_vocab - 1):
            raise ModelLoadFailed("the draft model has another vocabulary than the model that it should guess for")
        self._model = model
        self._context = context
        self._held: dict[int, array[int]] = {}
        """What is computed of each slot's tokens."""

    def draft(self, sequences: Items[Sequence], most: int) -> list[list[int]]:
        """At most `most` tokens after each sequence, as long as the small model is sure of them."""
        drafts: list[list[int]] = [[] for _ in sequences]
        places = self._catch_up(sequences)
        open_drafts = list(range(len(sequences)))
        for _ in range(most):
            going_on = []
            for index, place in zip(open_drafts, places, strict=True):
                token, probability = self._context.likeliest(place)
                if probability >= _SURE and not self._model.is_end(token):
                    drafts[index].append(token)
                    going_on.append(index)
            open_drafts = going_on
            if not open_drafts or len(drafts[open_drafts[0]]) == most:
                break
            places = [self._push(sequences[index], drafts[index][-1]) for index in open_drafts]
            self._context.decode()
        return drafts

    def forget(self, sequence: Sequence) -> None:
        """Its cells stay for the next job in the slot, which may begin alike."""

    def close(self) -> None:
        """Frees the small model."""
        self._context.close()
        self._model.close()

    def _catch_up(self, sequences: Items[Sequence]) -> list[int]:
        """Computes what is new of all sequences; returns where their last logits lie in the last batch, so all last
        tokens are computed together."""
        for sequence in sequences:
            held = self._held.setdefault(sequence.slot, array("i"))
            known = min(common_prefix(held, sequence.tokens), len(sequence.tokens) - 1)
            self._context.remove(sequence.slot, known)
            del held[known:]
            self._prefill(sequence, held)
        places = [self._push(sequence, sequence.tokens[-1]) for sequence in sequences]
        self._context.decode()
        return places

    def _prefill(self, sequence: Sequence, held: "array[int]") -> None:
        while (left := len(sequence.tokens) - 1 - len(held)) > 0:
            tokens = sequence.tokens[len(held) : len(held) + min(left, self._context.n_batch)]
            self._context.add(sequence.slot, tokens, len(held), outputs=0)
            self._context.decode()
            held.extend(tokens)

    def _push(self, sequence: Sequence, token: int) -> int:
        held = self._held[sequence.slot]
        place = self._context.add(sequence.slot, array("i", [token]), len(held), outputs=1)
        held.append(token)
        return place
