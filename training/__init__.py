"""Scripts that train the weights this project ships."""
