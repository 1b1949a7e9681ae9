"""What bench_peers.py compares: one module per library, each running in a process of its own."""
