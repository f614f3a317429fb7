"""L-BFGS on a smooth problem: pure numbers, nothing here knows of classes or features."""
