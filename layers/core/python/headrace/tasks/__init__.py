"""Task contracts: what stays stable for callers while the models behind it change."""
