"""The web service; knows no TensorFlow, Keras, OpenVINO or XGBoost."""
