"""Costs: exact decimals with at most three places, kept as whole thousandths."""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

Amount = int | float | str | Decimal
"""A cost in the policy's cost units: at most three decimals, to which floats are rounded."""

MOST = 10**15
"""The highest cost, in thousandths."""

# Room for all digits that are read, and an error for what is no number.
_EXACT = Context(prec=128)

_HEADER = re.compile(rb"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,3}))?")


class CostError(ValueError):
    """A cost that is not a number of cost units, 0 or more, with at most three decimals."""


def thousandths(amount: object) -> int:
    """The thousandths in `amount`.

    A float stands for the nearest thousandth, because sums of floats have more decimals than anybody means.
    """
    if isinstance(amount, bool) or not isinstance(amount, int | float | str | Decimal):
        raise CostError(f"a cost is an int, float, str or Decimal, not {type(amount).__name__}")
    if isinstance(amount, int):
        # Python does not print integers of any length.
        if abs(amount) > MOST:
            raise CostError(f"a cost is at least 0 and at most {MOST // 1000}")
        number: Decimal | None = Decimal(amount)
    else:
        number = _decimal(str(amount))
    shown = str(amount)[:60]
    if number is None:
        raise CostError(f"{shown!r} is not a cost; write a number such as 5 or 2.5")
    if not 0 <= number <= MOST // 1000:
        raise CostError(f"{shown!r} is not a cost; a cost is at least 0 and at most {MOST // 1000}")
    # The application's own context may round.
    whole = _EXACT.multiply(number, Decimal(1000))
    if isinstance(amount, float):
        whole = whole.to_integral_value(ROUND_HALF_EVEN)
    if whole != int(whole):
        raise CostError(f"{shown!r} is not a cost, because it has more than three decimals")
    return int(whole)


def _decimal(text: str) -> Decimal | None:
    try:
        return _EXACT.create_decimal(text) if re.fullmatch(r"[0-9.eE+-]{1,60}", text, re.ASCII) else None
    except ArithmeticError:
        return None


def of_header(value: bytes) -> int | None:
    """The thousandths in the header `X-Quota-Cost`; None if it is malformed."""
    match = _HEADER.fullmatch(value)
    if match is None:
        return None
    whole, decimals = match.groups()
    return int(whole) * 1000 + int((decimals or b"").ljust(3, b"0"))
