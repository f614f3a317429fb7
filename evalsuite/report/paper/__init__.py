"""The figures and tables of the CLIP paper, drawn from the table of numbers."""
