"""Classification of many image files, locally or with a running server."""
