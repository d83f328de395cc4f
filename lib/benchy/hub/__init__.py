"""The model hub: tokens, cache, access, what a model's files tell."""
