//! A writer for the "newc" cpio format, which the kernel unpacks as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel source).

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;
const TRAILER: &str = "TRAILER!!!";

/// An archive under construction. Paths are relative, without a leading slash; parent folders are added when they are first needed.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    next_inode: u32,
}

impl Archive {
    /// Adds a file that everybody may read and run.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.parents(path);
        self.entry(path, PROGRAM, contents);
    }

    /// Adds a symbolic link at `path` that points to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, SYMLINK, target.as_bytes());
    }

    /// Adds an empty folder.
    pub fn folder(&mut self, path: &str) {
        self.parents(path);
        if self.folders.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, &[]);
        }
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.next_inode = 0;
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if self.folders.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY, &[]);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        let size = u32::try_from(contents.len()).expect("a file in the initramfs is below 4 GiB");
        let name_size = path.len() as u32 + 1;
        // Magic, then 13 numbers of eight hex digits: inode, mode, uid, gid, links, mtime, size, four device numbers,
        // name size with the NUL, checksum (unused by this format).
        self.bytes.extend_from_slice(b"070701");
        for field in [
            self.next_inode,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ] {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.next_inode += 1;
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(contents);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back as (path, mode, contents), with none of the writer's code.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            assert_eq!(&bytes[at..at + 6], b"070701", "no magic at {at}");
            let field = |n: usize| {
                let start = at + 6 + n * 8;
                usize::from_str_radix(std::str::from_utf8(&bytes[start..start + 8]).unwrap(), 16)
                    .unwrap()
            };
            let (mode, size, name_size) = (field(1) as u32, field(6), field(11));
            let name = &bytes[at + 110..at + 110 + name_size];
            assert_eq!(name.last(), Some(&0), "names end with NUL");
            let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            let data = (at + 110 + name_size + 3) & !3;
            if name == TRAILER {
                assert_eq!(data, bytes.len());
                return entries;
            }
            entries.push((name, mode, bytes[data..data + size].to_vec()));
            at = (data + size + 3) & !3;
        }
    }

    #[test]
    fn entries_come_back() {
        let mut archive = Archive::default();
        archive.file("init", b"12345");
        archive.file("a/b/c", b"");
        archive.file("a/b/d", b"abcd");
        archive.symlink("bin/sh", "busybox");
        archive.folder("proc");
        archive.folder("proc");
        let bytes = archive.finish();
        let entries = read(&bytes);
        let short: Vec<_> = entries
            .iter()
            .map(|(n, m, c)| (n.as_str(), m >> 12, c.as_slice()))
            .collect();
        assert_eq!(
            short,
            [
                ("init", 8, &b"12345"[..]),
                ("a", 4, b""),
                ("a/b", 4, b""),
                ("a/b/c", 8, b""),
                ("a/b/d", 8, b"abcd"),
                ("bin", 4, b""),
                ("bin/sh", 10, b"busybox"),
                ("proc", 4, b""),
            ]
        );
    }

    #[test]
    fn every_entry_starts_aligned() {
        for length in 0..9 {
            let mut archive = Archive::default();
            archive.file(&"n".repeat(length + 1), &vec![7; length]);
            archive.file("second", b"x");
            let entries = read(&archive.finish());
            assert_eq!(entries[1].2, b"x");
        }
    }
}
