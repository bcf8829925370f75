"""The path from image bytes to probabilities, shared by training and serving."""
