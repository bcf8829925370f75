"""The split of a run's datasets: which images each stage may use, for what, and the record of it."""
