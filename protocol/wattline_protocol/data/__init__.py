"""Data sets and secrets: references, URLs of stores, keys of the site file, requests, views."""
