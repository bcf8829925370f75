"""Other servers of models, each in an environment of its own, measured beside ours in one run."""
