"""The client of the PDPJ portal: requests, the meaning of answers, sessions, timings."""
