"""Dates of HTTP in their three forms (RFC 9110, 5.6.7), as whole seconds since 1970."""

from __future__ import annotations

import calendar
import re
from email.utils import formatdate

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def format_date(time_s: int) -> str:
    """Return the preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`."""
    return formatdate(time_s, usegmt=True)


def parse_date(text: str, now_s: int) -> int | None:
    """Return the time that any of the three forms names, or None for everything else.

    A year of two digits that seems more than 50 years ahead of `now_s` lies in the past century.
    """
    match = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
    if match is None:
        return None
    year, month = int(match["year"]), _MONTHS.index(match["month"]) + 1
    if len(match["year"]) == 2:
        this_year = 1970 + now_s // 31_556_952
        year += this_year // 100 * 100
        year -= 100 if year > this_year + 50 else 0
    day, hour, minute, second = (int(match[part]) for part in ("day", "hour", "minute", "second"))
    if not 1 <= day <= calendar.monthrange(max(year, 1), month)[1] or hour > 23 or minute > 59 or second > 60:
        return None
    return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
