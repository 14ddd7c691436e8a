//! The spec compiler: reads `specs/*.toml`, compares mirrors with a kernel source, writes the constants and tables
//! that the engine (Rust) and the module's glue (C) use.
//!
//! A build script calls [`generate`]; people call the binary of the same name.

#![forbid(unsafe_code)]

mod check;
mod emit;
mod error;
mod load;
mod output;
pub mod schema;
pub mod source;

use std::path::{Path, PathBuf};

pub use error::{Error, Fault};
pub use load::Set;
pub use source::{judge, MirrorState, Verdicts};

/// What [`generate`] wrote and what it had to leave out.
#[derive(Debug)]
pub struct Report {
    /// The Rust file, to be included by the engine.
    pub rust: PathBuf,
    /// The C header.
    pub header: PathBuf,
    /// The C file with the functions that fill `struct synthjit_facts` and `struct synthjit_target`.
    pub filler: PathBuf,
    /// One line for each mirror that is not known, naming function, file and the specs that are left out for it.
    pub unknown: Vec<String>,
}

/// The kernel to build for.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<'a> {
    /// Root of its source.
    pub source: &'a Path,
    /// Release as `uname -r` prints it; empty if not known. Only written down, never judged by.
    pub release: &'a str,
}

/// Reads the specs folder `specs` and writes `specs.rs`, `synthjit_specs.h` and `synthjit_specs.c` to `out`.
///
/// Without a kernel every mirror counts as known: that is for host builds, whose code never runs in a kernel.
/// Files whose content would stay the same are not touched.
///
/// # Errors
///
/// Every fault of the specs, or the file that cannot be read or written. An unknown mirror is not an error.
pub fn generate(specs: &Path, out: &Path, kernel: Option<Kernel<'_>>) -> Result<Report, Error> {
    let set = Set::load(specs)?;
    let verdicts = match kernel {
        Some(kernel) => judge(&set, kernel.source)?,
        None => Verdicts::all_known(),
    };
    let release = kernel.map_or("", |k| k.release);
    let report = Report {
        rust: out.join("specs.rs"),
        header: out.join("synthjit_specs.h"),
        filler: out.join("synthjit_specs.c"),
        unknown: verdicts.lines(&set),
    };
    let [rust, header, filler] = texts(&set, &verdicts, release);
    output::write(&report.rust, &rust)?;
    output::write(&report.header, &header)?;
    output::write(&report.filler, &filler)?;
    Ok(report)
}

/// The texts that [`generate`] writes, in the order of [`Report`].
pub fn texts(set: &Set, verdicts: &Verdicts, release: &str) -> [String; 3] {
    [
        emit::rust(set, verdicts, release),
        emit::header(set),
        emit::filler(set, verdicts),
    ]
}
