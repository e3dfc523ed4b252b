"""When a subscription that was replaced ends: once, and not before its successor receives or its time is over."""

from geo_perception.ros.handover import PATIENCE_S, Handover


def test_it_ends_once_its_successor_receives():
    ended, handover = [], Handover()
    handover.begin(lambda: ended.append("first"))
    assert handover.is_on
    assert not ended
    for _ in range(2):
        handover.finish()
        assert not handover.is_on
        assert ended == ["first"]


def test_it_ends_after_a_while_where_nothing_comes(monkeypatch):
    ended, handover = [], Handover()
    monkeypatch.setattr("geo_perception.ros.handover.time.monotonic", lambda: 100.0)
    handover.begin(lambda: ended.append("first"))
    handover.poll(100.0 + PATIENCE_S - 0.01)
    assert not ended
    handover.poll(100.0 + PATIENCE_S + 0.01)
    assert ended == ["first"]
    handover.poll(200.0)
    assert ended == ["first"]


def test_the_next_one_ends_the_one_before():
    ended, handover = [], Handover()
    handover.begin(lambda: ended.append("first"))
    handover.begin(lambda: ended.append("second"))
    assert ended == ["first"]
    handover.finish()
    assert ended == ["first", "second"]
