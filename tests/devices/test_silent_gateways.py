from datetime import UTC, datetime, timedelta

from devices.silent_gateways import Voice, judge_silence
from devices.status import DeviceStatus

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TIMEOUT = timedelta(minutes=2)


def voice(id_: int, status: DeviceStatus, *, seen: float, since: float = 600) -> Voice:
    """Return a voice last heard `seen` minutes ago, of this status since `since` minutes."""
    return Voice(id_, status, NOW - timedelta(minutes=since), NOW - timedelta(minutes=seen))


def judge(device: Voice, *others: Voice) -> str:
    return judge_silence(device, timeout=TIMEOUT, voices=[device, *others], now=NOW)


def test_a_device_whose_gateway_goes_on_is_silent_by_itself() -> None:
    assert judge(voice(1, "offline", seen=7), voice(9, "online", seen=0)) == "own"


def test_all_voices_silent_is_the_gateway() -> None:
    assert judge(voice(1, "offline", seen=7), voice(2, "offline", seen=7.5), voice(9, "offline", seen=8)) == "gateway"


def test_while_the_gateway_may_be_silent_too_nothing_is_said() -> None:
    assert judge(voice(1, "offline", seen=7), voice(9, "stale", seen=6.5)) == "wait"
    assert judge(voice(1, "offline", seen=7), voice(9, "online", seen=6.5)) == "wait"  # its timeout is longer


def test_behind_a_gateway_that_is_just_back_devices_have_time_to_follow() -> None:
    assert judge(voice(1, "offline", seen=30), voice(9, "online", seen=0, since=1)) == "wait"
    assert judge(voice(1, "offline", seen=30), voice(9, "online", seen=0, since=2)) == "own"


def test_the_only_voice_of_a_gateway_speaks_for_itself() -> None:
    assert judge(voice(1, "offline", seen=7)) == "own"
