"""Data sets: references, URLs of stores, keys of the site file, requests and views."""
