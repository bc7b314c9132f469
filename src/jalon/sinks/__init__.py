"""What leaves the process: files that other programs read, and what is shown."""
