"""Pages of docs/ that are generated from the contract and the code."""
