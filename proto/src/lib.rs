//! Wire format, public objects and the one door where bytes become checked values.
