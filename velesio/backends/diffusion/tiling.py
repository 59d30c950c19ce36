"""Tiling: a network whose pictures have no edges, what leaves on one side coming in on the other."""

from torch import nn


class Seams:
    """All convolutions of a network that look beyond the edge."""

    def __init__(self, network: nn.Module) -> None:
        self._convolutions = [
            each for each in network.modules() if isinstance(each, nn.Conv2d) and any(side for side in each.padding)
        ]
        self._closed = False

    def close(self, closed: bool) -> None:
        """Joins the edges, or parts them again."""
        if closed != self._closed:
            for convolution in self._convolutions:
                convolution.padding_mode = "circular" if closed else "zeros"
            self._closed = closed
