"""Calls to the store: one pooled HTTP/1.1 client for each gate."""

import ssl

import httpx2

MAX_REPLY = 4 * 1024 * 1024


class StoreError(Exception):
    """The store's answer is none that a node can read."""


class Http:
    """The store at a URL. A caller sets the time that a call may take."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # Without TLS no certificates have to be read, which takes tens of milliseconds.
        verify = ssl.create_default_context() if url.startswith("https://") else False
        self._client = httpx2.AsyncClient(
            base_url=url,
            headers=headers,
            verify=verify,
            timeout=None,
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=55),
            # A proxy or a password file of the environment is not for the store.
            trust_env=False,
        )

    async def post(self, path: str, content_type: str, body: bytes) -> bytes:
        async with self._client.stream("POST", path, content=body, headers={"content-type": content_type}) as response:
            if response.status_code != 200:
                raise StoreError(response.status_code)
            reply = bytearray()
            async for chunk in response.aiter_raw():
                reply += chunk
                if len(reply) > MAX_REPLY:
                    raise StoreError("a reply that is too long")
            return bytes(reply)

    async def greet(self) -> None:
        """Opens a connection, so that the first request that needs one has its time for the call."""
        response = await self._client.get("/healthz")
        if response.status_code != 200:
            raise StoreError(response.status_code)

    async def close(self) -> None:
        await self._client.aclose()
