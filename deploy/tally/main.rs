//! The multi-call executable of the tally service.

fn main() {}
