"""What acceptance tests share: calls, checks of streams, the bucket, the processes."""
