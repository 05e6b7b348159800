"""The hub: an HTTP front over a domain that stores models as families of tensors."""
