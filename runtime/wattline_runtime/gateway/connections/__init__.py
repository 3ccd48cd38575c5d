"""Sockets of clients and workers, TLS, takeover; whole answers, clients that disconnect."""
