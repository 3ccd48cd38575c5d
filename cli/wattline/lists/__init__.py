"""Lists as verbs print them: rows selected, sorted, laid out, exported and repeated."""
