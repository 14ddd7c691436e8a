//! Writes generated files, but only when their content changes: make and cargo go by the time stamp.

use std::fs;
use std::path::Path;

use crate::error::{io_fault, Error};

pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| io_fault(dir, "make the output folder", &e))?;
    }
    // Through a second name, so that an interrupted run never leaves half a file behind.
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).map_err(|e| io_fault(&fresh, "write the file", &e))?;
    Ok(fs::rename(&fresh, path).map_err(|e| io_fault(path, "write the file", &e))?)
}
