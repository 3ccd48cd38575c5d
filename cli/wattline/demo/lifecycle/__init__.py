"""The demo of a lifecycle: data, its check, training, a model, a canary, and the lineage."""
