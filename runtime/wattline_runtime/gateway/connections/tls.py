"""TLS of clients: the certificate and its key, read again when their files change."""

import ssl
from pathlib import Path

import structlog

log = structlog.get_logger()

RELOAD_S = 1.0
"""Interval of looking for a change."""

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate chain and its key, as PEM files; connections take the newest that loaded."""

    def __init__(self, cert: str, key: str) -> None:
        """Raises OSError with the reason for files that are no certificate and its key."""
        self._cert, self._key = Path(cert), Path(key)
        self._seen = self._stamp()
        self.context = self._load()

    def reload(self) -> None:
        """Read the files again if they have changed; where they cannot be used, the old ones stay
        in force."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._load()  # into a context of its own: a bad pair must not reach the one in force
            self.context.load_cert_chain(self._cert, self._key)
        except OSError as error:
            log.error("certificate_not_usable", detail=f"{error}; the last one stays in force")
            return
        log.info("certificate_reloaded", file=str(self._cert))

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except OSError as error:  # ssl.SSLError is one
            text = f"tls_cert {self._cert} and tls_key {self._key}: {error.strerror or error}"
            raise OSError(text) from error
        return context

    def _stamp(self) -> Stamp:
        stamps = []
        for path in (self._cert, self._key):
            try:
                status = path.stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(stamps)


def _no_password() -> str:
    """An encrypted key cannot be read; without this OpenSSL would ask on the terminal."""
    raise OSError("tls_key is encrypted: give one without a passphrase, readable for us only")
