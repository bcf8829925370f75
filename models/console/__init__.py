"""Terminal output of the command lines."""
