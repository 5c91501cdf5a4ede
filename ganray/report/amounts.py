"""Numbers as a reader wants them: few digits, thousands apart, with units."""

import math

SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60, 3600, 86400
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
DIGITS = 3


def number(value: float) -> str:
    """Three significant digits, or all of a whole number with its thousands apart."""
    if not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10**DIGITS:
        return f"{value:,.0f}"
    text = f"{value:.{DIGITS}g}"
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}·10{_superscript(int(exponent))}"


def scaled(value: float, unit: str) -> str:
    """A number with the prefix that makes it short, such as 12.3 Mpixel."""
    for factor, prefix in PREFIXES:
        if abs(value) >= factor:
            return f"{number(float(f'{value / factor:.{DIGITS}g}'))} {prefix}{unit}"
    return f"{number(value)} {unit}"


def counted(value: int, noun: str) -> str:
    """A count with its noun, in the plural where there is not one."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def duration(seconds: float) -> str:
    """A time in the two largest units that say anything, such as 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < SECONDS_PER_MINUTE:
        return f"{whole} s"
    if whole < SECONDS_PER_HOUR:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if seconds < SECONDS_PER_DAY:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / SECONDS_PER_HOUR)
    return f"{hours // 24} d {hours % 24:02d} h"


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
