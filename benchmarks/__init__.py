"""Speed beside peers: what this project does and what others do, on the same input, in one run."""
