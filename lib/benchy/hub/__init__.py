"""The model hub: tokens, cache, access, and facts from a model's files."""
