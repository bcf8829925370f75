"""Admit, decode and classify images; load and reload models."""
