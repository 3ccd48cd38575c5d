"""Messages between programs, their encoding and their sockets."""
