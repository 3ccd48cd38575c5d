"""What a run of the facility simulator is judged by."""
