//! The election commission: definition, roll, registrar, phases, results.
