"""The alternatives that Autos is compared with: a plain loop, a pipe, rclone, Celery."""
