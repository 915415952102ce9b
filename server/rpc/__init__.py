"""The RPCs: requests are checked, storage is called, results and errors are converted back."""
