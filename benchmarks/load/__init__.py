"""Load generators: HTTP requests in closed loops and in open loops."""
