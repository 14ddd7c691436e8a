//! The differential tester and the torture are tested themselves before their word is taken.

pub mod diff;
pub mod torture;
