"""The rows, the bucket and Valkey; settings, errors and states. Every process imports it."""
