"""Readers of files with columns: batches of rows as summaries, in bounded memory."""
