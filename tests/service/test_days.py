"""Days in the operator's time zone, also those that are not 24 hours long."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from oyez.errors import SettingsError
from oyez.service.days import begin_of_day, end_of_day
from oyez.settings import Settings


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("zone", "now", "begin", "end"),
    [
        (UTC, "2026-01-31T12:00:00Z", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"),
        (UTC, "2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("Europe/Berlin", "2026-01-31T23:30:00Z", "2026-01-31T23:00:00Z", "2026-02-01T23:00:00Z"),
        ("Asia/Kolkata", "2026-01-31T18:29:59Z", "2026-01-30T18:30:00Z", "2026-01-31T18:30:00Z"),
        # 23 and 25 hours.
        ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("Europe/Berlin", "2026-10-25T22:59:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        # There is no midnight on this day, and two on that one.
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
        ("America/Havana", "2025-11-02T12:00:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"),
    ],
)
def test_a_day_begins_and_ends_at_midnight(zone: str | tzinfo, now: str, begin: str, end: str) -> None:
    place = ZoneInfo(zone) if isinstance(zone, str) else zone
    assert begin_of_day(moment(now), place) == moment(begin)
    assert end_of_day(moment(now), place) == moment(end)


def test_the_setting_is_a_name() -> None:
    assert Settings().zone is UTC
    assert Settings(time_zone="Europe/Berlin").zone == ZoneInfo("Europe/Berlin")
    for name in ("Berlin", "../etc/passwd", "", "Europe", "/etc/localtime"):
        with pytest.raises(SettingsError, match=r"TIME_ZONE is .* such as Europe/Berlin"):
            _ = Settings(time_zone=name).zone
