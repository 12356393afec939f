//! The tally protocol: shares, PRSS, AND layers, shuffle, sort, scan and outputs.
