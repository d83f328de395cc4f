"""The model hub: tokens, cache, access, and facts from a model's files.

It sends a few plain HTTP requests and does not use huggingface_hub. That client adds 11 packages
(20 MB) and half a second of import time, reads its settings at import instead of from a given
environment, may renew stored tokens, and ignores REQUESTS_CA_BUNDLE. Downloads and uploads use the
client of the engine's environment (scripts/download_snapshot.py, scripts/upload_dataset.py).
"""
