//! Kernel benchmarks and whole tallies over three real processes.
