"""What the tests of recordings share."""

import pytest
from bag_maker import BagMaker


@pytest.fixture
def bag_maker(tmp_path):
    return lambda ros1=False: BagMaker(tmp_path, ros1)
