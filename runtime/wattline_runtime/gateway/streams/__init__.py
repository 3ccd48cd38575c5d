"""Answers in chunks, and the routes of OpenAI's API."""
