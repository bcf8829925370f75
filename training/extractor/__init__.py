"""Make extractors: a network's weights, its files for each engine, and their validation."""
