"""Read encoded images from request bodies, within limits."""
