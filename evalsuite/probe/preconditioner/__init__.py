"""Initial inverse Hessians of logistic regression, from which L-BFGS starts."""
