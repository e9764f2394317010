from decimal import Decimal

import pytest

from tollgate import CostError
from tollgate._cost import of_header, thousandths


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, 0),
        (5, 5000),
        ("2.5", 2500),
        ("2.125", 2125),
        ("1e3", 1_000_000),
        (Decimal("0.001"), 1),
        (Decimal("7.500000"), 7500),
        (0.1, 100),
        (1.15, 1150),
        (0.1 + 0.2, 300),
        (2.0005, 2000),
        (1e12, 10**15),
        (-0.0001, None),
        (1e13, None),
        (10**12, 10**15),
        (10**12 + 1, None),
        (-1, None),
        ("-0.001", None),
        ("0.0001", None),
        (Decimal("1.0005"), None),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        ("", None),
        ("five", None),
        ("1_000", None),
        (" 1", None),
        ("١", None),
        ("1e999999999", None),
        pytest.param("9" * 5000, None, id="long"),
        pytest.param(10**5000, None, id="huge"),
        (True, None),
        (None, None),
        ([5], None),
        (b"5", None),
    ],
)
def test_costs_are_exact_or_refused(amount: object, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(CostError, match="cost"):
            thousandths(amount)
    else:
        assert thousandths(amount) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"5", 5000),
        (b"37.5", 37_500),
        (b"0.001", 1),
        (b"1.50", 1500),
        *((malformed, None) for malformed in [b"", b"-1", b"+1", b"1.", b".5", b"01", b"1.0001", b"1e3", b"1, 2"]),
        *((malformed, None) for malformed in [b"nan", b" 1", b"1\n", b"0x1", b"9" * 13, "١".encode(), b"1 2", b"\xff"]),
    ],
)
def test_the_gateways_header_is_read_strictly(value: bytes, expected: int | None) -> None:
    assert of_header(value) == expected
