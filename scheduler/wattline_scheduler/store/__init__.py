"""The durable records of a site in SQLite."""
