"""The hub: an HTTP front over a domain that stores models as families of tensors."""

__version__ = "0.1.0"
