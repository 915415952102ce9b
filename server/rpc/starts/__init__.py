"""StartDownload: its checks, and one step for many calls."""
