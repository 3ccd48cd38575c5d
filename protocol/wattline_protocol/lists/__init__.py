"""Lists of things with columns: one language that selects, sorts and chooses columns in all."""
