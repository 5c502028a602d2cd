"""What a process tells about itself: log lines, metrics, whether it is ready."""
