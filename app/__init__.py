"""The web service; knows no TensorFlow, Keras, OpenVINO or XGBoost."""

VERSION = "0.1.0"
"""As in pyproject.toml; a test holds them together."""
