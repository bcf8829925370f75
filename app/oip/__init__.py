"""The Open Inference Protocol V2, which clients of Triton, KServe and other servers use."""
