"""What a gateway tells about itself: metrics, and a log of requests."""
