import gc

import pytest

from iiot_site.lib import garbage


def test_garbage_is_looked_for_seldom_but_still_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    monkeypatch.setattr(gc, "freeze", lambda: None)  # the tests after this one would keep all that was there until now
    try:
        garbage.collect_seldom()
        assert gc.get_threshold() == (garbage.NEW_CONTAINERS, *before[1:])
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
