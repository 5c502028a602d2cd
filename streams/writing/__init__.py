"""Records on their way out: the one producer of a process, and where its records are afterwards."""
