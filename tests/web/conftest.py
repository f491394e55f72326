"""What web tests share."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.web.sites import SITES


@pytest.fixture(params=SITES)
def make_site(request):
    """Makes sites of one framework; the whole test runs once for each."""
    with ExitStack() as stack:
        yield lambda **parts: stack.enter_context(SITES[request.param](**parts))


@pytest.fixture
def site(make_site):
    """A site with nothing special."""
    return make_site()
