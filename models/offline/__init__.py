"""Classification of many image files, in this process or by a running server."""
