"""Money as whole nano-dollars: exact sums, and no amount so small that it rounds to nothing.

Amounts become whole upwards, so that neither a sum of costs nor a reservation is less than what is due.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

_NANO = 1_000_000_000
MOST_USD = 1e9
"""No limit on spend is above it; `engine.plan.care` holds plans to the same."""


def nusd(usd: float | str | Decimal) -> int:
    """An amount in USD as nano-dollars, rounded up.

    Raises
    ------
    ValueError
        It is no finite number.
    """
    # Through the text of a float: 0.1 is meant as one tenth, not as the binary fraction above it.
    amount = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    if not amount.is_finite():
        raise ValueError(f"{usd} is no amount of money")
    return int((amount * _NANO).to_integral_value(rounding=ROUND_CEILING))


def limit_nusd(usd: float) -> int:
    """A limit on spend in USD as nano-dollars: at least one, at most ``MOST_USD``.

    Raises
    ------
    ValueError
        It is none: not finite, nothing at all, or out of all proportion.
    """
    if not 0 < usd <= MOST_USD:  # neither holds of what is no number
        raise ValueError(f"a limit on spend is more than $0 and at most ${MOST_USD:,.0f}, not {usd:g}")
    return nusd(usd)


def usd(nusd: int) -> float:
    """Nano-dollars as USD."""
    return nusd / _NANO


def shown(nusd: int) -> str:
    """An amount for people: cents from a dollar on, else two digits that count; only nothing is ``$0``.

    >>> shown(1_234_567_890_123), shown(12_300_000), shown(1_500), shown(0)
    ('$1,234.57', '$0.012', '$0.0000015', '$0')
    """
    sign, amount = ("-", -nusd) if nusd < 0 else ("", nusd)
    if amount == 0:
        return "$0"
    if amount >= _NANO:
        return f"{sign}${amount / _NANO:,.2f}"
    digits = len(str(_NANO)) - len(str(amount)) + 1
    text = f"{Decimal(amount) / _NANO:.{digits}f}"
    return f"{sign}${text.rstrip('0') if len(text) > 4 else text}"
