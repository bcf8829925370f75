"""Training images: decoded once, augmented, and mixed into batches."""
