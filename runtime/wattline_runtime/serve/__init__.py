"""The inference worker: batching policy, model thread, and its connections to gateways."""
