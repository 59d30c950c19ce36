"""What a model says, as clients are to hear it. The formats that models have for it are in `velesio.dialects`."""

from velesio.dialects import Said, Speech

__all__ = ["Said", "Speech"]
