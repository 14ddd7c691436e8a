//! Recorded machines: one text file each, with `=== PATH` before the text of a file, `=== PATH -> TARGET` for a link; the bytes
//! of generated code are in hexadecimal.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use synthctl::machine::Machine;
use tempfile::TempDir;

/// A machine whose files lie in a folder that goes with this.
pub struct Recorded {
    folder: TempDir,
    pub machine: Machine,
}

impl Recorded {
    /// Unpacks a recording.
    pub fn unpack(text: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let recorded = Self {
            machine: Machine::at(folder.path()),
            folder,
        };
        for part in text.split("=== ").skip(1) {
            let (name, body) = part.split_once('\n').expect("a line");
            match name.split_once(" -> ") {
                Some((link, to)) => {
                    let link = recorded.place(link);
                    symlink(to, link).expect("a link");
                }
                None if name.ends_with("/code") => {
                    let bytes = body
                        .split_whitespace()
                        .map(|hex| u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
                    recorded.put_bytes(name, &bytes.collect::<Vec<_>>());
                }
                None => recorded.put(name, body),
            }
        }
        recorded
    }

    /// The folder that stands for `/`.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, instead of one that may be there.
    pub fn put(&self, name: &str, text: &str) {
        self.put_bytes(name, text.as_bytes());
    }

    /// [`Recorded::put`] for bytes.
    pub fn put_bytes(&self, name: &str, bytes: &[u8]) {
        fs::write(self.place(name), bytes).expect("a file");
    }

    /// Has the listing `bailouts` say this of the path `FD.CALL` of a process, given `REASON COUNT` lines; and the path's file
    /// what they sum up to.
    pub fn count(&self, pid: i32, path: &str, counts: &str) {
        let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        let sum: u64 = counts.lines().filter_map(number).sum();
        let file = format!("/sys/kernel/synthjit/processes/{pid}/fds/{path}/bailouts");
        self.put(&file, &format!("{sum}\n"));
        let listing = "/sys/kernel/debug/synthjit/bailouts";
        let about = format!("{pid} {path} ");
        let before = self.machine.text(listing).expect("a listing");
        let others = before.lines().filter(|line| !line.starts_with(&about));
        let new = counts.lines().map(|line| format!("{about}{line}"));
        let lines: Vec<String> = others.map(str::to_owned).chain(new).collect();
        self.put(listing, &(lines.join("\n") + "\n"));
    }

    /// Removes a file or folder.
    pub fn remove(&self, name: &str) {
        let path = self.machine.path(name);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("a folder");
        } else {
            fs::remove_file(path).expect("a file");
        }
    }

    fn place(&self, name: &str) -> std::path::PathBuf {
        let path = self.machine.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        path
    }
}

/// Debian's 7.2.12 in QEMU with a shell that writes to `cat` through a pipe, both attached, and another shell.
pub fn attached() -> Recorded {
    Recorded::unpack(include_str!("recorded/attached.txt"))
}
