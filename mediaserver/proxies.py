"""Whose word on their clients' addresses is taken."""

from __future__ import annotations

import ipaddress


class Proxies:
    """The addresses and networks whose word on their clients is taken."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in trusted]

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """Return the last address in X-Forwarded-For that no trusted proxy stands for, else the peer's."""
        if not self._networks or forwarded_for is None or not self._trusts(peer):
            return peer
        client = peer
        for address in reversed([part.strip() for part in forwarded_for.split(",")]):
            try:
                client = str(ipaddress.ip_address(address))
            except ValueError:
                return client
            if not self._trusts(client):
                return client
        return client

    def _trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)
