"""L-BFGS on many smooth problems at once: pure numbers, nothing here knows of classes or features."""
