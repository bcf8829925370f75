"""Recipes: TOML files that describe a training run completely, and their schema."""
