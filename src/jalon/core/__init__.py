"""The contract between a loop and its callbacks. Standard library only."""
