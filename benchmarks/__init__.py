"""What is claimed of speed is measured here, ways beside each other in one run."""
