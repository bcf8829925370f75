"""Labelled image datasets on disk: splits, class folders, archives, TFRecord shards and near duplicates."""
