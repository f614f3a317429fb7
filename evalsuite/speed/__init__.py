"""How fast this machine is with a model, and how long a run will therefore take."""
