"""The client of the PDPJ portal: requests, the meaning of its answers, case files, timings."""
