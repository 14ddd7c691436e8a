//! The reasons for not specializing, which specs/reasons.toml lists with their cures.

use synthjit_engine::specs::Reason;

/// What a person can do about a reason that a file of sysfs gives by its text. Empty if it is not one of ours.
pub fn cure(text: &str) -> &'static str {
    Reason::ALL
        .iter()
        .find(|reason| reason.text() == text)
        .map_or("", |reason| reason.cure())
}
