"""Who is calling: what an application, its gateways and the connection say."""

import ipaddress
from collections.abc import Callable, MutableMapping, Sequence
from functools import lru_cache, partial
from typing import Any, cast
from uuid import UUID

from ._policy import text_bytes
from ._tollgate import address

Scope = MutableMapping[str, Any]
Source = str | Callable[[Scope], object]
Pairs = list[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_ADDRESS = 64


def reader(source: Source) -> Callable[[Scope], object]:
    """What reads a source."""
    return partial(_attribute, source) if isinstance(source, str) else source


def name(value: object) -> bytes | None:
    """The name in what a source says about a request; None if that is nothing."""
    if value is None or value == "" or value == b"":
        return None
    if isinstance(value, bytes):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # Python does not print integers of any length in decimal.
        return (str(value) if abs(value) < 1 << 4096 else hex(value)).encode()
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, UUID):
        return str(value).encode()
    raise TypeError(
        f"a request's consumer or tier is a str, not {type(value).__name__}; name its attribute, such as 'user.id'"
    )


def _attribute(path: str, scope: Scope) -> object:
    first, *rest = path.split(".")
    value: Any = scope.get(first)
    for part in [*rest, None]:
        if getattr(value, "is_authenticated", True) is False:
            return None
        if part is not None:
            value = _member(value, part)
    if path == "user" and not isinstance(value, str | bytes | int | UUID | None):
        # The users of Starlette and Django: what identifies them has one of these names.
        for part in ("identity", "username", "display_name"):
            found = _member(value, part)
            if found:
                return found
    return value


def _member(value: object, name: str) -> Any:
    try:
        return cast(dict[str, Any], value).get(name) if isinstance(value, dict) else getattr(value, name, None)
    except NotImplementedError:
        return None


def last(headers: Pairs, name: bytes) -> bytes | None:
    """The last line of a header: who adds one without removing the client's adds it behind that."""
    return next((value for key, value in reversed(headers) if key == name and value), None)


def membership(networks: Sequence[Network]) -> Callable[[str], bool]:
    """Whether an address is in one of the networks."""
    plain = [_plain(network) for network in networks]

    @lru_cache(maxsize=4096)
    def is_found(text: str) -> bool:
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            return False
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return any((mapped or ip) in network for network in plain)

    # No address is longer, and what a client writes must not fill the memory.
    return lambda text: len(text) <= _LONGEST_ADDRESS and is_found(text)


def _plain(network: Network) -> Network:
    """The network without the spelling of IPv4 in IPv6, which no address is compared in."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    return network if mapped is None else ipaddress.IPv4Network((mapped, max(0, network.prefixlen - 96)))


def client_address(peer: str | None, headers: Pairs, is_trusted: Callable[[str], bool]) -> str | None:
    """The address of who speaks through trusted peers: the last in `X-Forwarded-For` that is none of theirs."""
    lines = [value for name, value in headers if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in b",".join(lines).decode("latin-1").split(",")]
    for hop in reversed(hops):
        if not hop:
            break
        # Some proxies write ports and brackets.
        peer = address(hop) or hop
        if not is_trusted(peer):
            break
    return peer
