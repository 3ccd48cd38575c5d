"""Two revisions of a service: shares of the requests, copies for comparison, reports."""
