"""`python -m velesio`."""

from velesio.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
