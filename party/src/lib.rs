//! The party server: intake, store, sealing and tally sessions.
