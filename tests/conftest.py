"""A cache of the tests' own; Hypothesis: few examples, always the same ones, and many new ones on demand."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("sample", max_examples=25, derandomize=True, database=None, deadline=None)
settings.register_profile("many", max_examples=1000, database=None, deadline=None, print_blob=True)
settings.load_profile("sample")  # `--hypothesis-profile=many` has the last word


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
