"""Release: the wheel, what is in it, what it brings along, and whether it serves; see docs/packaging.md."""
