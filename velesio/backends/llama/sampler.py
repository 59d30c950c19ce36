"""Chooses a sequence's next token: llama.cpp's chain, held to a grammar by rejection, with probabilities on request.

The chain chooses from the whole vocabulary, and only the chosen token is shown to the grammar. If that refuses it, the
chain chooses once more, from the tokens that the grammar allows: so most tokens cost next to nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from velesio.backends.llama import sampling
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.binding.chain import Candidates, Chain
from velesio.backends.llama.grammar import Constraint, constraint_of
from velesio.errors import BadRequest
from velesio.jobs import InForce, TextParams, TokenProbs

MAX_PROBS = 100
"""Of `TextParams.n_probs`: each travels with each token."""


class Choice(NamedTuple):
    """A chosen token, which the sampler has accepted already."""

    token: int
    probs: TokenProbs | None = None


class Sampler:
    """One sequence's way of choosing tokens, with its random state, its penalties and its place in a grammar."""

    def __init__(
        self,
        model: Model,
        plan: sampling.Plan,
        constraint: Constraint | None = None,
        *,
        n_probs: int = 0,
        post: bool = False,
        in_force: InForce = InForce(),  # noqa: B008 - frozen
    ) -> None:
        """`n_probs` tokens are reported with each choice, from before the samplers or, with `post`, after them."""
        self.seed = plan.seed
        self.in_force = in_force
        """What the client is told of it."""
        self._model = model
        self._chain = Chain(model, plan.steps)
        self._is_greedy = plan.is_greedy
        self._unwanted = None if constraint is not None or (n_probs and post) else plan.unwanted
        self._constraint = constraint
        self._n_probs = n_probs
        self._post = post

    def sample(self, context: Context, place: int) -> Choice:
        """Chooses and accepts the token after the batch's token at `place`.

        Raises:
            BadRequest: no token of the model can go on as the grammar wants, or every token is forbidden.
        """
        if self._unwanted is not None:  # a tenth of what the chain takes, which fills in the whole vocabulary first
            likely = context.logits(place)
            token = int(likely.argmax())
            if token not in self._unwanted:
                return Choice(token, self._before(likely, token) if self._n_probs else None)
        is_free = self._constraint is None or self._constraint.is_free
        if is_free and not (self._n_probs and self._post):
            token = context.sample(self._chain, place)
            if self._constraint is not None:
                self._constraint.accept(token)  # it may be what a lazy grammar waits for
            return Choice(token, self._before(context.logits(place), token) if self._n_probs else None)
        logits = context.logits(place)
        candidates = self._model.candidates
        token = self._choose(logits, candidates)
        probs = None
        if self._n_probs:
            probs = self._after(candidates, token) if self._post else self._before(logits, token)
        self.replay(token)
        return Choice(token, probs)

    def replay(self, token: int) -> None:
        """Accepts a token that was not chosen here: one that a lost worker sampled, or that was forced.

        Raises:
            BadRequest: if the grammar does not allow it.
        """
        self._chain.accept((token,))
        if self._constraint is not None:
            self._constraint.accept(token)

    def remember(self, tokens: Sequence[int]) -> None:
        """Tells the penalties of a prompt."""
        self._chain.accept(tokens)

    def close(self) -> None:
        """Frees the chain."""
        self._chain.close()

    def _choose(self, logits: npt.NDArray[np.float32], candidates: Candidates) -> int:
        candidates.fill(logits)
        token = self._pick(candidates)
        if self._constraint is None or self._constraint.is_free:
            if token < 0:
                raise BadRequest("logit_bias forbids every token", param="logit_bias")
            return token
        if token >= 0 and self._constraint.allows(token):
            return token
        candidates.fill(logits, self._constraint.allowed())
        if (token := self._pick(candidates)) >= 0:
            return token
        if (end := self._constraint.end) is not None:
            return end  # it is complete, even if the model may not say so
        raise BadRequest("no token of this model continues the answer as its grammar wants", param="grammar")

    def _pick(self, candidates: Candidates) -> int:
        """The chain's choice; -1 where there is none, or only forbidden ones."""
        place = self._chain.apply(candidates)
        if place < 0 or candidates.rows["logit"][place] == -np.inf:
            return -1
        return int(candidates.rows["id"][place])

    def _before(self, logits: npt.NDArray[np.float32], token: int) -> TokenProbs:
        """Natural logarithms of the probabilities that the model itself gives."""
        most = logits.max()
        total = most + np.log(np.exp(logits - most).sum(dtype=np.float64))
        count = min(self._n_probs, len(logits))
        best = np.argpartition(logits, -count)[-count:]
        best = best[np.lexsort((best, -logits[best]))]
        piece = self._model.piece
        top = tuple((int(rival), piece(int(rival)), float(logits[rival] - total)) for rival in best)
        return TokenProbs(token, piece(token), float(logits[token] - total), top)

    def _after(self, candidates: Candidates, token: int) -> TokenProbs:
        """Probabilities among the candidates that the samplers left over."""
        piece = self._model.piece
        if self._is_greedy or not (candidates.left["id"] == token).any():
            return TokenProbs(token, piece(token), 1.0, ((token, piece(token), 1.0),))
        left = candidates.left
        rows = left[np.lexsort((left["id"], -left["p"]))][: self._n_probs]
        top = tuple((int(row["id"]), piece(int(row["id"])), float(row["p"])) for row in rows if row["p"] > 0)
        return TokenProbs(token, piece(token), float(left["p"][left["id"] == token][0]), top)


def sampler_of(
    model: Model, params: TextParams, prompt: Sequence[int], *, context: int, constraint: Constraint | None = None
) -> Sampler:
    """The sampler that a job asks for, with a prompt of these tokens behind it, in contexts of `context` tokens.

    `constraint` is used instead of what the job's own grammar asks for.

    Raises:
        BadRequest: for what the model or llama.cpp does not have, and for a grammar that cannot be used.
    """
    if params.n_probs > MAX_PROBS:
        raise BadRequest(f"n_probs is at most {MAX_PROBS}", param="n_probs")
    plan = sampling.plan(
        params.sampling,
        context=context,
        tokenize=model.tokenize,
        end_tokens=model.end_tokens,
        vocabulary=model.n_vocab,
        suppressed=model.suppressed_tokens(),
    )
    if constraint is None and params.grammar is not None:
        constraint = constraint_of(params.grammar, model.grammars)
    in_force = _in_force(params, plan, constraint) if params.tells_settings else InForce()
    sampler = Sampler(
        model, plan, constraint, n_probs=params.n_probs, post=params.post_sampling_probs, in_force=in_force
    )
    if plan.history:
        sampler.remember(prompt[-plan.history :])
    return sampler


def _in_force(params: TextParams, plan: sampling.Plan, constraint: Constraint | None) -> InForce:
    """What the params do not say themselves."""
    is_known = constraint is None or (params.grammar is not None and params.grammar.gbnf)
    biases = tuple((token, None if bias == -np.inf else bias) for token, bias in plan.biases)
    return InForce("" if is_known or constraint is None else constraint.text, biases)
