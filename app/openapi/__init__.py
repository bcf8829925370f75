"""The OpenAPI document, as far as FastAPI cannot read it off the routes: clients are generated from it."""
