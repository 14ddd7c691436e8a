//! Compares the mirrors of specs with the source of a kernel.

mod find;
mod lex;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{io_fault, Error};
use crate::load::Set;
use crate::schema::{Mirror, MirrorKind, Spec, ABSENT};

/// What the kernel's source says about a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorState {
    /// The text has been reviewed.
    Known,
    /// The text differs from all that were reviewed; its fingerprint.
    Changed(String),
    /// The file has nothing of this name, or there is no such file.
    Missing,
}

type Key = (String, String, MirrorKind);

/// States of all mirrors of a set.
#[derive(Debug, Default)]
pub struct Verdicts {
    judged: Option<BTreeMap<Key, MirrorState>>,
}

impl Verdicts {
    /// No source was looked at: every mirror counts as known.
    pub fn all_known() -> Self {
        Self::default()
    }

    pub fn state(&self, mirror: &Mirror) -> MirrorState {
        match &self.judged {
            None => MirrorState::Known,
            Some(judged) => judged
                .get(&key(mirror))
                .cloned()
                .unwrap_or(MirrorState::Missing),
        }
    }

    /// Why `spec` cannot be used on this kernel, one text for each mirror; empty if it can.
    pub fn unavailable(&self, set: &Set, spec: &Spec) -> Vec<String> {
        let mut parts = Vec::new();
        for mirror in set.closure(spec).iter().flat_map(|s| &s.mirror) {
            match self.state(mirror) {
                MirrorState::Known => {}
                MirrorState::Changed(_) => {
                    parts.push(format!("{} in {} has changed", mirror.name, mirror.file))
                }
                MirrorState::Missing => {
                    parts.push(format!("{} not found in {}", mirror.name, mirror.file))
                }
            }
        }
        parts
    }

    /// One line for people per mirror that is not known, in a stable order.
    pub fn lines(&self, set: &Set) -> Vec<String> {
        let mut left_out: BTreeMap<(String, String), (MirrorState, Vec<&str>)> = BTreeMap::new();
        for spec in &set.specs {
            for mirror in set.closure(spec).iter().flat_map(|s| &s.mirror) {
                let state = self.state(mirror);
                if state != MirrorState::Known {
                    let place = (mirror.file.clone(), mirror.name.clone());
                    left_out
                        .entry(place)
                        .or_insert((state, Vec::new()))
                        .1
                        .push(&spec.name);
                }
            }
        }
        left_out
            .into_iter()
            .map(|((file, name), (state, specs))| {
                let specs = specs.join(", ");
                match state {
                    MirrorState::Changed(print) => format!(
                        "{name} in {file} is not the text that was reviewed; left out: {specs} (fingerprint {print}; \
                         cure: review the change and add the fingerprint to the spec)"
                    ),
                    _ => format!(
                        "{name} not found in {file}; left out: {specs} (cure: give the full kernel source, or correct the spec)"
                    ),
                }
            })
            .collect()
    }
}

fn key(mirror: &Mirror) -> Key {
    (mirror.file.clone(), mirror.name.clone(), mirror.kind)
}

/// Looks up each mirror of `set` in the kernel source at `root`.
///
/// # Errors
///
/// Only if `root` itself is no folder; a missing file in it makes its mirrors [`MirrorState::Missing`].
pub fn judge(set: &Set, root: &Path) -> Result<Verdicts, Error> {
    fs::read_dir(root).map_err(|e| io_fault(root, "read the kernel source", &e))?;
    let mut judged = BTreeMap::new();
    for mirror in set.specs.iter().flat_map(|s| &s.mirror) {
        let state = state_in(root, mirror);
        // Two specs may list the same mirror; known to one of them is not known to the other.
        let entry = judged.entry(key(mirror)).or_insert_with(|| state.clone());
        if state != MirrorState::Known {
            *entry = state;
        }
    }
    Ok(Verdicts {
        judged: Some(judged),
    })
}

fn state_in(root: &Path, mirror: &Mirror) -> MirrorState {
    let reviewed = |print: &str| mirror.reviewed.values().any(|known| known == print);
    let Some(source) = source_of(root, mirror) else {
        // A tree without the file is not a tree that does without the function.
        return MirrorState::Missing;
    };
    match fingerprint(&source, mirror.kind, &mirror.name) {
        None if reviewed(ABSENT) => MirrorState::Known,
        None => MirrorState::Missing,
        Some(print) if reviewed(&print) => MirrorState::Known,
        Some(print) => MirrorState::Changed(print),
    }
}

/// Fingerprint of a mirror's text in the source at `root`, or `None` if it is not there.
pub fn fingerprint_in(root: &Path, mirror: &Mirror) -> Option<String> {
    fingerprint(&source_of(root, mirror)?, mirror.kind, &mirror.name)
}

/// The normalised text of a mirror in the source at `root`, for reviewing one kernel's against another's.
pub fn text_in(root: &Path, mirror: &Mirror) -> Option<String> {
    let tokens = lex::tokens(&source_of(root, mirror)?);
    let mut text = String::new();
    for range in find::definitions(&tokens, mirror.kind, &mirror.name) {
        for token in &tokens[range] {
            text += token;
            text += if matches!(token.as_str(), "\n" | ";" | "{" | "}") {
                "\n"
            } else {
                " "
            };
        }
        text += "\n";
    }
    (!text.is_empty()).then_some(text)
}

fn source_of(root: &Path, mirror: &Mirror) -> Option<String> {
    // Kernel sources hold a few bytes outside UTF-8, in comments only.
    let bytes = fs::read(root.join(&mirror.file)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Fingerprint of the text of `name` in `source`: SHA-256 of its tokens, so white space and comments do not matter.
///
/// All definitions of the name in the file count, each once, in order: a macro under `#ifdef` has several.
pub fn fingerprint(source: &str, kind: MirrorKind, name: &str) -> Option<String> {
    let tokens = lex::tokens(source);
    let found = find::definitions(&tokens, kind, name);
    if found.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    for range in found {
        for token in &tokens[range] {
            hash.update(token.as_bytes());
            hash.update([0]);
        }
        hash.update([1]);
    }
    Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
