//! What must never happen, and what happens then: faults in generated code, pages that are writable and executable.

pub mod recover;
pub mod wx;
