"""What the routes share: fast routes, the steps of a classification, parameters, schemas and errors."""
