"""The `clade train` command."""
