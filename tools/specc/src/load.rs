//! Reads a specs folder into memory. Only the shape is checked here; `check` judges the contents.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::{io_fault, Error, Fault};
use crate::schema::{Arena, Reasons, Spec, Target};

/// Everything a specs folder holds. Specs are sorted by name, so that output is deterministic.
#[derive(Debug, Clone)]
pub struct Set {
    pub specs: Vec<Spec>,
    pub reasons: Reasons,
    pub arena: Arena,
    pub target: Target,
}

pub const REASONS: &str = "reasons.toml";
pub const ARENA: &str = "arena.toml";
pub const TARGET: &str = "target.toml";

impl Set {
    /// Reads each `*.toml` of `dir` and checks all of it.
    ///
    /// # Errors
    ///
    /// All faults of all files at once, each with file, key, reason and cure.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        Self::read(dir)?.checked()
    }

    /// Reads each `*.toml` of `dir` and checks its shape only: for an author whose mirrors have no fingerprints yet.
    ///
    /// # Errors
    ///
    /// The faults of shape of all files.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        let mut faults = Vec::new();
        for path in toml_files(dir)? {
            match fs::read_to_string(&path) {
                Ok(text) => files.push((file_name(&path), text)),
                Err(error) => faults.push(io_fault(&path, "read the file", &error)),
            }
        }
        if faults.is_empty() {
            Self::shaped(&files, &dir.display().to_string())
        } else {
            Err(Error { faults })
        }
    }

    /// What [`Set::load`] makes of a folder with these files, given as name and text.
    ///
    /// # Errors
    ///
    /// As of [`Set::load`].
    pub fn from_texts(files: &[(String, String)]) -> Result<Self, Error> {
        Self::shaped(files, "the given files")?.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let faults = crate::check::check(&self);
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(Error { faults })
        }
    }

    /// The files of a folder, which `place` names for people.
    fn shaped(files: &[(String, String)], place: &str) -> Result<Self, Error> {
        let mut faults = Vec::new();
        let mut specs: Vec<Spec> = Vec::new();
        let (mut reasons, mut arena, mut target) = (None, None, None);
        for (name, text) in files {
            match name.as_str() {
                REASONS => reasons = keep(parse(name, text), &mut faults),
                ARENA => arena = keep(parse(name, text), &mut faults),
                TARGET => target = keep(parse(name, text), &mut faults),
                _ => specs.extend(
                    keep(parse(name, text), &mut faults).map(|s| named(s, name, &mut faults)),
                ),
            }
        }
        if faults.is_empty() {
            for (name, missing) in [
                (REASONS, reasons.is_none()),
                (ARENA, arena.is_none()),
                (TARGET, target.is_none()),
            ] {
                if missing {
                    faults.push(Fault::new(
                        name,
                        "",
                        format!("is not in {place}"),
                        "add the file; every specs folder has one",
                    ));
                }
            }
        }
        let (Some(reasons), Some(arena), Some(target)) = (reasons, arena, target) else {
            return Err(Error { faults });
        };
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        if faults.is_empty() {
            Ok(Self {
                specs,
                reasons,
                arena,
                target,
            })
        } else {
            Err(Error { faults })
        }
    }

    /// The spec of this name.
    pub fn spec(&self, name: &str) -> Option<&Spec> {
        self.specs.iter().find(|s| s.name == name)
    }

    /// `spec` and all it uses, each once, used ones first. Names that do not exist are left out.
    pub fn closure<'a>(&'a self, spec: &'a Spec) -> Vec<&'a Spec> {
        fn visit<'a>(
            set: &'a Set,
            spec: &'a Spec,
            open: &mut Vec<&'a str>,
            out: &mut Vec<&'a Spec>,
        ) {
            if open.contains(&spec.name.as_str()) || out.iter().any(|s| s.name == spec.name) {
                return;
            }
            open.push(&spec.name);
            for used in spec.uses.iter().filter_map(|name| set.spec(name)) {
                visit(set, used, open, out);
            }
            open.pop();
            out.push(spec);
        }
        let mut out = Vec::new();
        visit(self, spec, &mut Vec::new(), &mut out);
        out
    }
}

fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(dir).map_err(|e| io_fault(dir, "read the specs folder", &e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|e| io_fault(dir, "read the specs folder", &e))?
            .path();
        if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Fault> {
    let table = toml::de::Deserializer::new(text);
    serde_path_to_error::deserialize(table).map_err(|error| {
        let key = match error.path().to_string() {
            at if at == "." => String::new(),
            at => at,
        };
        let inner = error.into_inner();
        let line = inner
            .span()
            .map(|s| text[..s.start].matches('\n').count() + 1);
        let place = line.map_or(String::new(), |n| format!("line {n}: "));
        Fault::new(
            name,
            key,
            format!("{place}{}", inner.message().replace('\n', ", ")),
            "write the key as tools/specc/src/schema.rs describes it",
        )
    })
}

fn keep<T>(parsed: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    parsed.map_err(|fault| faults.push(fault)).ok()
}

fn named(spec: Spec, file: &str, faults: &mut Vec<Fault>) -> Spec {
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    if spec.name != stem {
        faults.push(Fault::new(
            file,
            "name",
            format!("`{}` is not the file's name", spec.name),
            format!("write name = \"{stem}\" or rename the file"),
        ));
    }
    spec
}
