"""A model used on a person's own images: classify them, search in them."""
