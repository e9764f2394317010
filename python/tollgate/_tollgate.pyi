from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import final

class PolicyError(ValueError): ...

@final
class Policy:
    @staticmethod
    def read(text: bytes, name: str) -> Policy: ...
    def without_store(self) -> Policy: ...
    def with_store(self, upstream: str) -> Policy: ...
    def with_refund(self, statuses: Sequence[str]) -> Policy: ...
    def refunds(self, status: int) -> bool: ...
    @property
    def settles(self) -> tuple[bool, bool]: ...
    @property
    def mode(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def upstream(self) -> str | None: ...
    @property
    def token(self) -> str | None: ...
    @property
    def token_env(self) -> str | None: ...

@final
class Decision:
    """What was decided about a request or a charge."""

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
    @property
    def status(self) -> int:
        """The HTTP status: 200 where the request may go on."""
    @property
    def outcome(self) -> str:
        """`allowed`, `refused_rate`, `refused_month`, `shadow_refused`, `fallback`, `error`, `free` or `off`."""
    @property
    def tier(self) -> str:
        """The tier's name, `anonymous` for anonymous clients."""
    @property
    def consumer(self) -> str | None:
        """The consumer's name; None for an anonymous client."""
    @property
    def cost(self) -> Decimal:
        """What was charged, or was to be, in cost units."""
    @property
    def thousandths(self) -> int:
        """The same in thousandths of a cost unit."""
    @property
    def is_open(self) -> bool:
        """Whether something was charged that `Gate.settle` can still settle."""
    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers to set, names in lower case."""
    @property
    def body(self) -> bytes | None:
        """The problem document of a refusal."""
    @property
    def limit(self) -> int | None:
        """`X-RateLimit-Limit`."""
    @property
    def remaining(self) -> int | None:
        """`X-RateLimit-Remaining`."""
    @property
    def reset(self) -> int | None:
        """`X-RateLimit-Reset`, Unix seconds."""
    @property
    def monthly_remaining(self) -> int | None:
        """`X-Quota-Monthly-Remaining`."""
    @property
    def retry_after(self) -> int | None:
        """Seconds after which this very request would be allowed; None if it was, or never is."""

@final
class StoreCall:
    @property
    def number(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def timeout(self) -> float: ...

@final
class ResponseHeaders:
    def replace(
        self, headers: Iterable[Sequence[bytes]], decision: Decision, is_of_gateway: bool
    ) -> list[tuple[bytes, bytes]] | None: ...

@final
class Node:
    def __new__(cls, policy: Policy) -> Node: ...
    def decide(
        self,
        method: bytes,
        path: bytes,
        peer: str | None,
        headers: Iterable[Sequence[bytes]] | None = None,
        consumer: bytes | None = None,
        tier: bytes | None = None,
        price: int | None = None,
    ) -> Decision | int: ...
    def charge(self, decision: Decision, price: int) -> Decision | int: ...
    def settle(self, decision: Decision, cost: int) -> Decision | None: ...
    def preview(self, settled: list[tuple[Decision, int]]) -> Decision | None: ...
    def said(self, decision: Decision, status: int, cost: bytes | None = None) -> int | None: ...
    def price(self, method: bytes, path: bytes) -> int: ...
    def forget(self, request: int) -> None: ...
    @property
    def interval(self) -> float | None: ...
    @property
    def response_headers(self) -> ResponseHeaders: ...
    def set_clock(self, unix: int, node: int) -> None: ...
    def tick(self) -> None: ...
    def drain(self) -> bool: ...
    def replied(self, call: int, body: bytes | None) -> None: ...
    def take_calls(self) -> list[StoreCall]: ...
    def take_decisions(self) -> list[tuple[int, Decision]]: ...
    def take_events(self) -> list[str]: ...

def without_reserved(headers: Iterable[Sequence[bytes]]) -> list[tuple[bytes, bytes]]: ...
def address(text: str) -> str | None: ...
def has_one_reading(path: bytes) -> bool: ...
