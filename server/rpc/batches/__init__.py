"""StartDownloads and GetBatch."""
