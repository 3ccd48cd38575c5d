"""Job scripts as sbatch takes them: `#SBATCH` lines read as keys of a job file."""
