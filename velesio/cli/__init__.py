"""The command line; nothing else parses arguments.

What reads the arguments imports neither broker nor HTTP: commands bring in what they need when they run.
"""

from velesio.cli.program import main, parser, usual_role

__all__ = ["main", "parser", "usual_role"]
