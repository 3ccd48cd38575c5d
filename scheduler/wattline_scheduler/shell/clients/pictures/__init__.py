"""Pictures of the whole site for subscribers: rows built once, sent as they change."""
