"""Examples of jobs: training, an array, services; the demo runs them."""
