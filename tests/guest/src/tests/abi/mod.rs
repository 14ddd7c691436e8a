//! What the module shows to people and programs: sysfs, debugfs, and `synthctl` on top.

pub mod effect;
pub mod files;
pub mod lengths;
pub mod rights;
pub mod synthctl;
