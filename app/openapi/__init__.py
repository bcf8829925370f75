"""The OpenAPI document: what FastAPI cannot derive from the routes. Clients are generated from it."""
