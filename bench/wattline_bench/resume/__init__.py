"""What interruptions cost a training job, and whether its weights at the end are the same."""
