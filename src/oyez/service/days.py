"""Days of the operator's time zone, which decides what "today" means."""

from datetime import datetime, timedelta, tzinfo


def begin_of_day(moment: float, zone: tzinfo) -> float:
    """When the day of `moment` began in `zone`; both are seconds since 1970.

    If clocks are put forward at midnight, a day begins at one o'clock; if they are put back, at the first
    midnight.
    """
    return _midnight(datetime.fromtimestamp(moment, zone))


def end_of_day(moment: float, zone: tzinfo) -> float:
    """When the day of `moment` ends in `zone`, which is when the next one begins."""
    # From noon, a day later is the next day, however long this one is.
    noon = datetime.fromtimestamp(moment, zone).replace(hour=12)
    return _midnight(noon + timedelta(days=1))


def _midnight(day: datetime) -> float:
    return day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()
