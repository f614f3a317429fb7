"""Get files: transfers over HTTP, archives, the Hugging Face hub, and whether servers answer."""
