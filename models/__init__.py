"""The one definition of image -> probabilities, shared by training and serving."""
