"""For all tests: asserts in the modules that they share explain themselves too."""

import pytest

pytest.register_assert_rewrite(
    "tests.integration", "tests.invariants", "tests.package", "tests.system", "tests.unit"
)
