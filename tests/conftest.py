"""Hypothesis: few examples, always the same ones, in every test run; many new ones where they are asked for."""

from hypothesis import settings

settings.register_profile("sample", max_examples=25, derandomize=True, database=None, deadline=None)
settings.register_profile("many", max_examples=1000, database=None, deadline=None, print_blob=True)
settings.load_profile("sample")  # `--hypothesis-profile=many` has the last word
