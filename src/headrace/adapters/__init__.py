"""The doors: each translates a transport into calls of a service, and does nothing else."""
