"""huggingface_hub's own tests, run against a hub of ours (``make test-hf``).

The tests are downloaded with the source distribution when they are run; nothing of them is kept
here but the ids of the cases that concern models, datasets and their storage.
"""
