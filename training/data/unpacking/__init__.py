"""Members of untrusted archives."""
