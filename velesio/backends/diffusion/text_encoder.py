"""CLIP's text encoder: rows of token vectors to rows of what they mean.

Written out here because prompts need what a library's forward pass hides: vectors of textual inversions in place of
tokens', and the states of all layers. Weights have the names of the published models.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": _quick_gelu, "gelu": functional.gelu}


class TextShape(NamedTuple):
    """The measures of a text encoder."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    """Width of the layers' perceptrons."""
    positions: int = 77
    activation: str = "quick_gelu"
    projection: int = 0
    """Width of the pooled output; 0: there is none."""
    epsilon: float = 1e-5

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "TextShape":
        """From the `config.json` of a published encoder."""
        return cls(
            vocabulary=config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            inner=config["intermediate_size"],
            positions=config.get("max_position_embeddings", 77),
            activation=config.get("hidden_act", "quick_gelu"),
            projection=config.get("projection_dim", 0) if config.get("projects") else 0,
            epsilon=config.get("layer_norm_eps", 1e-5),
        )


class States(NamedTuple):
    """What the encoder made of rows of tokens."""

    layers: tuple[Tensor, ...]
    """[rows, tokens, width] before the first layer and after each."""
    last: Tensor
    """The last of them, normalized."""
    pooled: Tensor | None
    """[rows, projection] of each row's end mark."""


class TextEncoder(nn.Module):
    """A transformer over at most `positions` tokens that look back only."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        self.text_model = _Model(shape)
        self.text_projection = nn.Linear(shape.width, shape.projection, bias=False) if shape.projection else None

    def vectors(self, tokens: Tensor) -> Tensor:
        """The vectors of token numbers, [rows, tokens] → [rows, tokens, width]."""
        return functional.embedding(tokens, self.text_model.embeddings.token_embedding.weight)

    def forward(self, vectors: Tensor, ends: Tensor) -> States:
        """`ends`: the place of each row's end mark."""
        states = self.text_model.states(vectors)
        last = self.normalized(states[-1])
        pooled = None
        if self.text_projection is not None:
            rows = last[torch.arange(len(last), device=last.device), ends]
            pooled = functional.linear(rows, self.text_projection.weight)
        return States(states, last, pooled)

    def normalized(self, state: Tensor) -> Tensor:
        """A layer's state as the last one is normalized."""
        return self.text_model.final_layer_norm.forward(state)


class _Model(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shape)
        self.encoder = _Layers(shape)
        self.final_layer_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)

    def states(self, vectors: Tensor) -> tuple[Tensor, ...]:
        states = [vectors + self.embeddings.position_embedding.weight[: vectors.shape[1]]]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        return tuple(states)


class _Embeddings(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embedding = nn.Embedding(shape.positions, shape.width)


class _Layers(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))


class _Layer(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape)
        self.layer_norm1 = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.mlp = _Perceptron(shape)
        self.layer_norm2 = nn.LayerNorm(shape.width, eps=shape.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn.forward(self.layer_norm1.forward(x))
        return x + self.mlp.forward(self.layer_norm2.forward(x))


class _Perceptron(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.width, shape.inner)
        self.fc2 = nn.Linear(shape.inner, shape.width)
        self._activation = _ACTIVATIONS[shape.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2.forward(self._activation(self.fc1.forward(x)))


class _Attention(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self._heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width)
        self.k_proj = nn.Linear(shape.width, shape.width)
        self.v_proj = nn.Linear(shape.width, shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self._split(part.forward(x)) for part in (self.q_proj, self.k_proj, self.v_proj))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj.forward(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] → [rows, heads, tokens, width of a head]."""
        rows, tokens, width = x.shape
        return x.view(rows, tokens, self._heads, width // self._heads).transpose(1, 2)
