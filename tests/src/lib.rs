//! Whole-program tests: the private world and the actors of the drills.
