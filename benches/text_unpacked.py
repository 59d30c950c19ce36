"""`python -m llama_cpp.server` without rearranged weights: it crashes with them on CPUs with AMX, and has no option."""

import runpy
from typing import Any

from llama_cpp import llama_cpp as c


def main() -> None:
    """Runs the server with another default."""
    defaults = c.llama_model_default_params

    def parameters() -> Any:
        found = defaults()
        found.use_extra_bufts = False
        return found

    c.llama_model_default_params = parameters
    runpy.run_module("llama_cpp.server", run_name="__main__")


if __name__ == "__main__":
    main()
