//! Whole elections on real processes: crash, refusal and cheating tests.
