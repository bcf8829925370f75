"""Open Inference Protocol V2, by which clients of Triton, KServe and others speak to a server of models."""
