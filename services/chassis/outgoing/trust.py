"""Which certificates of targets are taken. Called by `client`, and by rooms whose users may say so."""

from __future__ import annotations

import ssl


def verified_only() -> ssl.SSLContext:
    """Certificates that the system's authorities vouch for, in the target's name."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def anybody() -> ssl.SSLContext:
    """Any certificate, expired, for another name or signed by nobody known: encrypted, but to whom is not
    known. What is sent over it is for whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
