"""Import of datasets into the data folder, import of a user's own folder, and export as TFRecord shards."""
