"""The API is what it was, byte for byte, until somebody means to change it."""

import pytest

from tests.descriptions.golden import HERE, documents


@pytest.mark.parametrize("name", documents())
def test_the_description_is_the_agreed_one(name):
    assert documents()[name] == (HERE / name).read_text(), "meant? python -m tests.descriptions.golden"
