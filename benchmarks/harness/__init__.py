"""What all benchmarks share: servers under test, workloads, model stores, costs of components, and reports."""
