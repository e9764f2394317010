"""One request on its way through an application: what it was charged, and what it costs in the end."""

import asyncio
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ._cost import Amount, thousandths
from ._gate import Gate
from ._tollgate import Decision

Message = MutableMapping[str, Any]
Pairs = list[tuple[bytes, bytes]]

COST = b"x-quota-cost"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a client stands, as the response's headers will say it; None where they say nothing.

    Behind a gateway, which says it there, all but `tier` and `consumer` are None until the application charges.
    """

    tier: str
    consumer: str | None
    limit: int | None
    """Cost units that the rate allows in its period."""
    remaining: int | None
    """Whole cost units that are left now, at most as many as `limit`."""
    reset: int | None
    """When all of them are back, in Unix seconds."""
    monthly_remaining: int | None
    """Whole cost units that are left of the month."""


class Reservation:
    """What was reserved for a request, until its true cost is known.

    Unless it is settled before the request ends, all of it is spent. It may be settled from any thread or task of the
    request; before the response begins, the response's headers show it. What is reserved later than that, for a
    WebSocket's message or by a task that outlives its request, is settled at once by the first word.
    """

    def __init__(
        self,
        decision: Decision,
        reserved: int,
        used: int,
        charge: Decision,
        settle_at_once: "Callable[[Reservation], None] | None" = None,
    ) -> None:
        self._decision = decision
        self._charge = charge
        self._reserved = reserved
        self._used = used
        self._settle_at_once = settle_at_once
        self._cost: int | None = None
        self._is_final = False
        self._is_withdrawn = False
        # A word of another thread is either charged or refused.
        self._lock = threading.Lock()

    @property
    def decision(self) -> Decision:
        """The decision that has reserved it."""
        return self._decision

    @property
    def is_settled(self) -> bool:
        """Whether its true cost was said."""
        return self._cost is not None

    @property
    def reserved(self) -> Decimal:
        """What was reserved, in cost units."""
        return Decimal(self._reserved) / 1000

    def settle(self, cost: Amount) -> None:
        """Says what it really cost; more than was reserved is charged as well, without asking.

        The last word counts. It raises `CostError` for what is no cost, and `RuntimeError` once the reservation is
        charged: when its request has ended. If the response has replaced or refunded it, what is said means nothing.
        """
        said = thousandths(cost)
        with self._lock:
            if self._is_withdrawn:
                return
            if self._is_final:
                raise RuntimeError("the reservation is settled: its request has ended, or it was charged at once")
            self._cost = said
            if self._settle_at_once is None:
                return
            self._is_final = True
        self._settle_at_once(self)

    def refund(self) -> None:
        """Says that it cost nothing."""
        self.settle(0)

    def finish(self, *, is_withdrawn: bool = False) -> None:
        """From now on nothing can be said, or means anything."""
        with self._lock:
            self._is_final = True
            self._is_withdrawn = is_withdrawn

    @property
    def charge(self) -> Decision:
        """The decision to settle: a refused one if nothing could be reserved beyond what was charged before."""
        return self._charge

    @property
    def own(self) -> int:
        """What that costs, in thousandths."""
        return max(0, self._spent() - self._used)

    @property
    def unused(self) -> int:
        """What is left of what had been charged before, in thousandths."""
        return max(0, self._used - self._spent())

    def _spent(self) -> int:
        return self._reserved if self._cost is None else self._cost


class Visit:
    """One request on its way through the application."""

    # Most requests have nothing of this.
    _refusal: Decision | None = None
    _charging: asyncio.Lock | None = None
    # What comes back of the first charge, because a reservation that has used it costs less.
    _unused = 0
    # What was charged and reserved since the first charge, until the response begins.
    _charges: list[Decision] | None = None
    _reservations: list[Reservation] | None = None
    # Once the response has begun, no charge comes back any more.
    _has_begun = False
    _has_ended = False

    def __init__(self, gate: Gate, decision: Decision, paid: int | None = None, *, is_of_gateway: bool = False) -> None:
        self._gate = gate
        self._first = self._decision = decision
        # What was charged before the application named a price, in thousandths, as far as no charge has used it. None
        # stands for the decision's cost, which most requests never ask for.
        self._paid = paid
        self.is_of_gateway = is_of_gateway

    @property
    def decision(self) -> Decision:
        """The latest decision."""
        return self._decision

    @property
    def standing(self) -> Standing:
        """Where the client stands after the latest decision."""
        it = self._decision
        return Standing(it.tier, it.consumer, it.limit, it.remaining, it.reset, it.monthly_remaining)

    @property
    def refusal(self) -> Decision | None:
        """The refusal that the response has to be, if there is one."""
        return self._refusal

    async def charge(self, cost: Amount) -> Decision:
        """Charges `cost` to the request's client, less what the gateway or the middleware has charged already.

        A refused charge costs nothing, and the caller decides what becomes of the request. It raises `CostError` for
        what is no cost.
        """
        return await self.charge_thousandths(thousandths(cost))

    async def charge_thousandths(self, price: int) -> Decision:
        """As `charge`, in thousandths of a cost unit."""
        # One after the other: what was paid counts once, and for a charge that is allowed.
        async with self._one_by_one():
            used = min(price, self._left())
            decision = await self._charge(price - used, used)
            if decision.is_open and not self._has_begun:
                self._charges = self._charges or []
                self._charges.append(decision)
            return decision

    async def reserve(self, cost: Amount) -> Reservation:
        """Charges `cost` as `charge` does, until the reservation's true cost is known.

        A refused reservation costs nothing: look at its `decision`. It raises `CostError` for what is no cost.
        """
        return await self.reserve_thousandths(thousandths(cost))

    async def reserve_thousandths(self, price: int) -> Reservation:
        """As `reserve`, in thousandths of a cost unit."""
        async with self._one_by_one():
            used = min(price, self._left())
            # Without a charge of its own there would be nothing that can turn out to be more.
            held = await self._gate.hold(self._decision) if price == used else None
            decision = await self._charge(price - used, used)
            charge = decision if held is None else held
            if self._has_begun:
                return Reservation(decision, price, used, charge, self._settle_soon if decision.allowed else None)
            reservation = Reservation(decision, price, used, charge)
            if decision.allowed:
                self._reservations = self._reservations or []
                self._reservations.append(reservation)
            return reservation

    def _one_by_one(self) -> asyncio.Lock:
        if self._charging is None:
            self._charging = asyncio.Lock()
        return self._charging

    def _left(self) -> int:
        """What is left of the first charge."""
        return self._first.thousandths if self._paid is None else self._paid

    async def _charge(self, price: int, used: int) -> Decision:
        decision = await self._gate.charge_thousandths(self._decision, price)
        if decision.allowed:
            self._paid = self._left() - used
            self._refusal = None
        if decision.outcome not in ("free", "off"):
            self._decision = decision
        return decision

    def begin(self, status: int, message: Message) -> None:
        """The response begins with this status and message: what is known by now is settled, or shown."""
        self._has_begun = True
        gate = self._gate
        if gate.refunds(status):
            self.refund()
        elif gate.is_settling and not self.is_of_gateway:
            said = gate.said(self._first, status, _cost_in(message))
            if said is not None:
                self._settle(self._first, said)
        self._charges = None
        if self._reservations is not None:
            self._show(self._reservations)

    def _show(self, reservations: list[Reservation]) -> None:
        """Has the response say where the client will stand by what is known of reservations."""
        settled, unused = self._costs(reservations)
        if unused and self._first.is_open:
            settled.append((self._first, self._first.thousandths - unused))
        shown = self._gate.preview(settled)
        if shown is not None:
            self._decision = shown

    def refund(self) -> None:
        """Takes back whatever was charged for the request."""
        self.withdraw()
        self._settle(self._first, 0)

    def withdraw(self) -> None:
        """Takes back what the application has charged, and not what was charged before it was asked."""
        charges, self._charges = self._charges or [], None
        reservations, self._reservations = self._reservations or [], None
        for reservation in reservations:
            reservation.finish(is_withdrawn=True)
            self._settle(reservation.charge, 0)
        for decision in charges:
            self._settle(decision, 0)

    def end(self) -> None:
        """Settles the rest when the request ends."""
        self._has_begun = self._has_ended = True
        reservations, self._reservations = self._reservations, None
        if reservations:
            for reservation in reservations:
                reservation.finish()
            costs, unused = self._costs(reservations)
            for charge, cost in costs:
                self._settle(charge, cost)
            self._unused += unused
        if self._unused:
            self._give_back()

    def _costs(self, reservations: list[Reservation]) -> tuple[list[tuple[Decision, int]], int]:
        """What each reservation's charge costs in the end, and what comes back of the first charge.

        What no price has used of the first charge pays for what turns out dearer. Once all is known, the rest of it
        comes back: the request costs what was said.
        """
        left, unused = self._left(), 0
        costs: list[tuple[Decision, int]] = []
        for reservation in reservations:
            covered = min(left, reservation.own) if reservation.is_settled else 0
            left -= covered
            costs.append((reservation.charge, reservation.own - covered))
            unused += reservation.unused
        return costs, unused + (left if all(it.is_settled for it in reservations) else 0)

    def _settle_soon(self, reservation: Reservation) -> None:
        """Settles what was reserved after the response had begun; nobody knows how long its request takes."""

        def settle() -> None:
            self._finish(reservation)
            if self._has_ended:
                self._give_back()

        self._gate.soon(settle)

    def _give_back(self) -> None:
        """Gives back what reservations have not used of the first charge. A gateway's is the gateway's to settle."""
        if self._unused and self._first.is_open:
            self._settle(self._first, self._first.thousandths - self._unused)

    def _finish(self, reservation: Reservation) -> None:
        self._settle(reservation.charge, reservation.own)
        self._unused += reservation.unused

    def _settle(self, decision: Decision, cost: int) -> None:
        charged = decision.thousandths if decision.allowed else 0
        settled = self._gate.settle_thousandths(decision, cost)
        # One that stays as it is says where the client stood before.
        if cost != charged and settled is not decision:
            self._decision = settled

    def refuse(self, decision: Decision) -> None:
        """Has the response to the request be this refusal, if the application answers with its status."""
        self._refusal = decision

    def answers(self, message: Message) -> Decision | None:
        """The refusal that replaces the application's response, which begins with `message`."""
        refusal = self._refusal
        return refusal if refusal is not None and message.get("status") == refusal.status else None

    def replace(self, refusal: Decision) -> Pairs:
        """The headers of a refusal that replaces the response: its request costs what was charged before, no more."""
        self._has_begun = True
        self._decision = refusal
        self.withdraw()
        if self._decision is refusal:
            return refusal.headers
        # They say where the client stands with what has come back.
        return self._gate.response_headers.replace(refusal.headers, self._decision, False) or refusal.headers

    def announce(self, message: Message) -> Message:
        """The message that begins a response, with the headers of the latest decision and no others of their names."""
        headers = message.get("headers") or ()
        # Behind a gateway, what the application says that a request costs is for that.
        replaced = self._gate.response_headers.replace(headers, self._decision, self.is_of_gateway)
        return message if replaced is None else {**message, "headers": replaced}


def _cost_in(message: Message) -> bytes | None:
    """What the response says that its request costs; several lines are one list, which is no cost."""
    lines = [value for name, value in message.get("headers") or () if bytes(name).lower() == COST]
    return b",".join(lines) if lines else None
