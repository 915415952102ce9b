"""Programs as processes: started, supervised, stopped with their parent."""
