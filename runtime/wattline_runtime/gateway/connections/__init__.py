"""HTTP connections of clients: whole answers, and clients that disconnect."""
