"""The durable records of a site in SQLite: schema, group commit, loading, backup."""
