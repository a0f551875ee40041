//! How the recorder knows that it sees: a canary whose events must come back, clocks that must not jump, and the list of
//! what it is blind to. Pure: times and events in, verdicts out.

pub mod canary;
pub mod clock;
pub mod gaps;
