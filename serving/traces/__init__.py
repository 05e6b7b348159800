"""Public request traces that come along, with their licences in README.md."""
