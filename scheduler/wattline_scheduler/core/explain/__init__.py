"""Why a job waits, when it is expected to start, and what would let it start sooner."""
