"""What an application hands over: policies, stores' addresses, texts and headers."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import httpx2

from ._tollgate import Policy

Text = str | bytes
Headers = Mapping[str, str] | Iterable[tuple[Text, Text]]
PolicySource = str | os.PathLike[str] | Mapping[str, object] | bytes | Policy


def read(policy: PolicySource) -> Policy:
    """The policy, checked."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, bytes):
        return Policy.read(policy, "policy")
    if isinstance(policy, Mapping):
        return Policy.read(json.dumps(policy, default=str).encode(), "policy")
    return Policy.read(Path(policy).read_bytes(), str(policy))


def store_url(upstream: str | None) -> str | None:
    """The URL of the store that a policy or an application names."""
    if upstream is None:
        return None
    url = httpx2.URL(upstream if "://" in upstream else f"http://{upstream}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{upstream!r} is not the URL of a store; write one such as http://127.0.0.1:7600")
    if "://" not in upstream and url.port is None:
        raise ValueError(
            f"the policy calls its store {upstream!r}, which only a gateway can find; pass store='http://HOST:PORT'"
        )
    return str(url)


def store_token(policy: Policy) -> str | None:
    """The store's token, as a policy names it."""
    name = policy.token_env
    if name is None:
        return policy.token
    token = os.environ.get(name, "").rstrip()
    if not token:
        raise RuntimeError(f"the environment has no token in {name}, which the policy's store.token names")
    return token


def text_bytes(text: Text) -> bytes:
    """The bytes of a text, whatever surrogates a client has put into it."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    found: Iterable[tuple[Text, Text]]
    found = cast(Mapping[str, str], headers).items() if isinstance(headers, Mapping) else headers
    return [(text_bytes(name).lower(), text_bytes(value)) for name, value in found]
