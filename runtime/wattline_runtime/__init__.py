"""What runs inside jobs and in front of them: training, inference workers and their gateway."""
