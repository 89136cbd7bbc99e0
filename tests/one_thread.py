"""A fixture for the packages of tests that compute with torch."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """For networks of a few channels threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
