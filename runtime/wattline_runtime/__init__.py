"""Programs that run inside jobs and in front of them: training, inference workers, gateway."""
