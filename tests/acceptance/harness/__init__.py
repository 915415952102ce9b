"""Calls, stream checks, bucket access and process control that acceptance tests share."""
