"""The web service. It reaches TensorFlow, Keras, OpenVINO and XGBoost only through `models`."""

VERSION = "0.1.0"
"""The version in pyproject.toml; a test compares them."""
