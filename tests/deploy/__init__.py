"""The files in deploy/, as far as they can be tried without containers."""
