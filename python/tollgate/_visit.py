"""One request on its way through an application: what it was charged, and what it costs in the end."""

import asyncio
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ._cost import Amount, thousandths
from ._gate import Gate
from ._tollgate import Decision

Message = MutableMapping[str, Any]

COST = b"x-quota-cost"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a client stands, as the response's headers will say it; None where they say nothing."""

    tier: str
    consumer: str | None
    limit: int | None
    remaining: int | None
    reset: int | None
    monthly_remaining: int | None


class Reservation:
    """What was reserved for a request, until its true cost is known.

    Unless it is settled before the request ends, all of it is spent. It may be settled from any thread or task of the
    request; before the response begins, the response's headers show it.
    """

    def __init__(self, decision: Decision, reserved: int, used: int, charge: Decision) -> None:
        self._decision = decision
        self._charge = charge
        self._reserved = reserved
        self._used = used
        self._cost: int | None = None
        self._is_final = False

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

        The last word counts. Once it has been charged, nothing can be said any more.
        """
        if self._is_final:
            raise RuntimeError("the reservation is settled")
        self._cost = thousandths(cost)

    def refund(self) -> None:
        """Says that it cost nothing."""
        self.settle(0)

    def finish(self) -> tuple[Decision, int, int]:
        """The decision to settle, and at how much, and what is left of what had been charged before, in thousandths.

        That is left once. The decision is a refused one if nothing could be reserved beyond what was charged before.
        """
        unused = 0 if self._is_final else max(0, self._used - self._spent())
        self._is_final = True
        return self._charge, self._own(), unused

    def _own(self) -> int:
        return max(0, self._spent() - self._used)

    def _spent(self) -> int:
        return self._reserved if self._cost is None else self._cost


class Visit:
    """One request on its way through the application."""

    __slots__ = (
        "_charges",
        "_charging",
        "_decision",
        "_first",
        "_gate",
        "_paid",
        "_refusal",
        "_reservations",
        "_unused",
        "is_of_gateway",
    )

    def __init__(self, gate: Gate, decision: Decision, paid: int | None = None, *, is_of_gateway: bool = False) -> None:
        self._gate = gate
        self._first = self._decision = decision
        self._refusal: Decision | None = None
        # What was charged before the application named a price, in thousandths, as far as no charge has used it. None
        # stands for the decision's cost, which most requests never ask for.
        self._paid: int | None = paid
        # What comes back of it, because a reservation that has used it costs less.
        self._unused = 0
        # Most requests charge and reserve nothing more.
        self._charges: tuple[Decision, ...] = ()
        self._reservations: tuple[Reservation, ...] = ()
        self._charging: asyncio.Lock | None = None
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

        A refused charge costs nothing, and the caller decides what becomes of the request.
        """
        return await self.charge_thousandths(thousandths(cost))

    async def charge_thousandths(self, price: int) -> Decision:
        """As `charge`, in thousandths of a cost unit."""
        # One after the other: what was paid counts once, and for a charge that is allowed.
        async with self._one_by_one():
            used = min(price, self._left())
            decision = await self._charge(price - used, used)
            if decision.allowed:
                self._charges += (decision,)
            return decision

    async def reserve(self, cost: Amount) -> Reservation:
        """Charges `cost` as `charge` does, until the reservation's true cost is known.

        A refused reservation costs nothing: look at its `decision`.
        """
        return await self.reserve_thousandths(thousandths(cost))

    async def reserve_thousandths(self, price: int) -> Reservation:
        """As `reserve`, in thousandths of a cost unit."""
        async with self._one_by_one():
            used = min(price, self._left())
            # Without a charge of its own there would be nothing that can turn out to be more.
            own = max(price - used, 1)
            before = self._decision
            decision = charge = await self._charge(own, used)
            if not decision.allowed and price == used:
                # The request goes on, so its response must not say that it was refused.
                self._decision = before
                decision = await self._charge(0, used)
            reservation = Reservation(decision, price, used, charge)
            if decision.allowed:
                self._reservations += (reservation,)
            return reservation

    def _one_by_one(self) -> asyncio.Lock:
        if self._charging is None:
            self._charging = asyncio.Lock()
        return self._charging

    def _left(self) -> int:
        """What is left of the first charge."""
        return thousandths(self._first.cost) if self._paid is None else self._paid

    async def _charge(self, price: int, used: int) -> Decision:
        decision = await self._gate.charge_thousandths(self._decision, price)
        if decision.allowed:
            self._paid = self._left() - used
            self._refusal = None
        if decision.outcome not in ("free", "off"):
            self._decision = decision
        return decision

    def settle(self, message: Message) -> None:
        """Settles what is known when the response begins with `message`."""
        status: int = message.get("status", 101)
        if self._gate.refunds(status):
            self.refund()
            return
        if self._gate.is_settling and not self.is_of_gateway:
            said = self._gate.said(self._first, status, _cost_in(message))
            if said is not None:
                self._settle(self._first, said)
        for reservation in self._reservations:
            if reservation.is_settled:
                self._finish(reservation)
        # Once the first charge is settled, no later reservation could give back what it has not used of it.
        if self._reservations and not self._left() and all(it.is_settled for it in self._reservations):
            self._give_back()

    def refund(self) -> None:
        """Takes back whatever was charged for the request."""
        reserved = [reservation.finish()[0] for reservation in self._reservations]
        for decision in [self._first, *self._charges, *reserved]:
            self._settle(decision, 0)

    def end(self) -> None:
        """Settles the rest when the request ends."""
        for reservation in self._reservations:
            self._finish(reservation)
        self._give_back()

    def _give_back(self) -> None:
        """Gives back what reservations have not used of the first charge. A gateway's is the gateway's to settle."""
        if self._unused and self._first.is_open:
            self._settle(self._first, thousandths(self._first.cost) - self._unused)

    def _finish(self, reservation: Reservation) -> None:
        charge, own, unused = reservation.finish()
        self._settle(charge, own)
        self._unused += unused

    def _settle(self, decision: Decision, cost: int) -> None:
        settled = self._gate.settle_thousandths(decision, cost)
        if settled is not decision:
            self._decision = settled

    def refuse(self, decision: Decision) -> None:
        """Has the response to the request be this refusal, if the application answers with its status."""
        self._refusal = decision

    def answers(self, message: Message) -> Decision | None:
        """The refusal that replaces the application's response, which begins with `message`."""
        refusal = self._refusal
        return refusal if refusal is not None and message.get("status") == refusal.status else None

    def announce(self, message: Message) -> Message:
        """The message that begins a response, with the headers of the latest decision and no others of their names."""
        decision = self._decision
        if decision.outcome == "off" or (decision.outcome == "free" and self.is_of_gateway):
            return message
        # What the application says that a request costs is for a gateway alone.
        names = self._gate.announced if self.is_of_gateway else self._gate.hidden
        headers: Iterable[tuple[bytes, bytes]] = message.get("headers") or ()
        kept = [(name, value) for name, value in headers if bytes(name).lower() not in names]
        return {**message, "headers": [*kept, *decision.headers]}


def _cost_in(message: Message) -> bytes | None:
    """What the response says that its request costs; several lines are one list, which is no cost."""
    lines = [value for name, value in message.get("headers") or () if bytes(name).lower() == COST]
    return b",".join(lines) if lines else None
