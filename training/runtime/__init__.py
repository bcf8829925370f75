"""Environment of a training run: folders, threads, TensorFlow settings, downloads and library versions."""
