"""Fuzzing: what comes from outside, as bytes nobody would write; see docs/fuzzing.md.

Each target of `targets.TARGETS` reads bytes as the product does. Hypothesis tries them in the suite (`test_targets`),
atheris for as long as one likes (`scripts/fuzz`), guided by what code they reach.
"""
