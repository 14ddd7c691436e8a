//! A small specs folder that is right, and a small kernel source that fits it, for tests to break.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

pub const ARENA: &str = r#"
doc = "Layout."
assert = ["SITE < SLOT"]

[[constant]]
name = "SLOT"
value = 64
doc = "Size of a slot, in bytes."

[[constant]]
name = "SITE"
value = 32
doc = "Offset of the copy, in bytes."
"#;

pub const REASONS: &str = r#"
doc = "Reasons."

[[reason]]
name = "threads"
kind = "process"
text = "the process has threads"
cure = "end them"

[[reason]]
name = "unknown_object"
kind = "descriptor"
text = "there is no path for this"
cure = "none"
"#;

pub const TARGET: &str = r#"
doc = "The machine."
include = ["asm/cpufeature.h"]

[[fact]]
name = "fast"
type = "bool"
c = "boot_cpu_has(X86_FEATURE_FAST)"
doc = "It is fast."

[[fact]]
name = "door"
type = "address"
c = "thing_door"
doc = "Where it enters."

[[fact]]
name = "word"
type = "address"
symbol = "thing_word"
doc = "A word of the kernel."

[[array]]
name = "counts"
c = "thing_counts"
doc = "64 bits for each slot."
"#;

pub const BASE: &str = r#"
name = "base"
kind = "common"
doc = "What paths share."
include = ["linux/sched.h"]
refuses = ["unknown_object"]

[[value]]
name = "alone"
class = 3
from = "event"
kept = "watch"
events = ["task_newtask"]
reason = "threads"
doc = "The process is alone."

[[value]]
name = "flags"
class = 2
c = "offsetof(struct thing, flags)"
doc = "Offset of the flags."

[[mirror]]
name = "enter"
file = "kernel/entry.c"
reviewed = { "7.2" = "ENTER" }
doc = "How it enters."
"#;

pub const PUSH: &str = r#"
name = "push"
kind = "path"
doc = "push() on a thing."
call = "push"
syscall = 1
object = "thing_fops"
uses = ["base"]
commit = "The lock is held."
assert = ["sizeof(long) == 8"]

[[bail]]
name = "full"
doc = "The thing is full."
cure = "pop"

[[value]]
name = "fd"
class = 1
from = "synthesis"
doc = "The number."

[[value]]
name = "count"
class = 4
from = "call"
doc = "How many."

[[value]]
name = "thing_fops"
class = 3
symbol = "thing_fops"
kept = "guard"
doc = "Operations of things."

[[mirror]]
name = "thing_push"
file = "fs/thing.c"
watched = true
reviewed = { "7.2" = "PUSH" }
doc = "The push itself."
"#;

pub const ENTRY_C: &str = "void enter(void)\n{\n\tgo(1);\n}\n";

pub const THING_C: &str = r#"
/* thing_push(x) { in a comment } */
struct thing {
	unsigned long flags;	/* see below */
};

static int thing_pop(struct thing *t)
{
	return t->flags;
}

static int thing_push(struct thing *t, int x)
{
	if (x < 0) // no such x
		return -EINVAL;
	t->flags |= x;
	return 0;
}
"#;

/// A specs folder and a kernel source next to it; both vanish with it.
pub struct Bench {
    pub dir: TempDir,
}

impl Bench {
    /// A bench where everything is right and every mirror is known.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let bench = Self { dir };
        bench.write("kernel/kernel/entry.c", ENTRY_C);
        bench.write("kernel/fs/thing.c", THING_C);
        bench.write("specs/arena.toml", ARENA);
        bench.write("specs/reasons.toml", REASONS);
        bench.write("specs/target.toml", TARGET);
        bench.write("specs/base.toml", &with_prints(BASE));
        bench.write("specs/push.toml", &with_prints(PUSH));
        bench
    }

    pub fn specs(&self) -> PathBuf {
        self.dir.path().join("specs")
    }

    pub fn kernel(&self) -> PathBuf {
        self.dir.path().join("kernel")
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("the folder is made");
        fs::write(path, text).expect("the file is written");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).expect("the file is there")
    }

    /// Replaces `old`, which must be there, in one file.
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name} has no `{old}`");
        self.write(name, &text.replacen(old, new, 1));
    }

    /// Generates for the bench's kernel and hands back the report.
    pub fn generate(&self) -> specc::Report {
        let kernel = specc::Kernel {
            source: &self.kernel(),
            release: "7.2.0-test",
        };
        specc::generate(&self.specs(), &self.out(), Some(kernel)).expect("the specs are right")
    }

    pub fn rust(&self) -> String {
        self.read("out/specs.rs")
    }
}

/// The spec with its placeholders replaced by the fingerprints of the bench's kernel source.
fn with_prints(text: &str) -> String {
    let print = |source: &str, name: &str| {
        specc::source::fingerprint(source, specc::schema::MirrorKind::Function, name)
            .expect("the function is there")
    };
    text.replace("ENTER", &print(ENTRY_C, "enter"))
        .replace("PUSH", &print(THING_C, "thing_push"))
}
