"""What makes files last. Knows files, not training."""
