import json

from protocols.modbus.frames import MAX_FRAME_BYTES, LastValues, make_frames


def test_a_value_that_breaks_off_is_marked_bad_once_with_the_last_it_had() -> None:
    last = LastValues()
    assert last.take({"a": 1, "b": None}) == {"a": 1}
    assert last.take({"a": None}) == {"a": {"value": 1, "quality": "bad"}}
    assert last.take({"a": None}) == {}
    assert last.lose_all() == {}
    assert last.take({"a": 2, "b": 0}) == {"a": 2, "b": 0}
    assert last.lose_all() == {"a": {"value": 2, "quality": "bad"}, "b": {"value": 0, "quality": "bad"}}


def test_a_poll_is_one_message_with_the_time_of_each_request() -> None:
    [frame] = make_frames([(1, {"a": 1}), (2, {}), (3, {"b": True})])
    assert json.loads(frame) == [{"ts": 1, "values": {"a": 1}}, {"ts": 3, "values": {"b": True}}]
    [frame] = make_frames([(1, {"a": 1})])
    assert json.loads(frame) == {"ts": 1, "values": {"a": 1}}
    assert make_frames([(1, {})]) == []


def test_a_large_poll_is_several_messages_that_each_may_be_taken() -> None:
    parts = [(n, {f"m{n}": "x" * 1_000}) for n in range(200)]
    frames = make_frames(parts)
    assert len(frames) > 3
    assert all(len(frame) < MAX_FRAME_BYTES + 2_000 for frame in frames)
    assert sum(len(json.loads(frame)) for frame in frames) == 200
