//! The generated files: they compile, say what the specs say, and stay the same when nothing changes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Bench;

/// Compiles `source` as a `no_std` library and fails on any warning.
#[track_caller]
fn compiles(source: &str, dir: &Path) {
    let file = dir.join("lib.rs");
    fs::write(&file, format!("#![no_std]\n#![forbid(unsafe_code)]\n#![deny(warnings, missing_docs)]\n//! Test.\n{source}"))
        .expect("written");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .args([
            "--edition",
            "2021",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "-o",
        ])
        .arg(dir.join("lib.rmeta"))
        .arg(&file)
        .output()
        .expect("rustc runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn project_specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs")
}

#[test]
fn rust_compiles_without_std_and_without_warnings() {
    let bench = Bench::new();
    bench.generate();
    compiles(&bench.rust(), bench.dir.path());
}

#[test]
fn rust_has_the_promised_shape() {
    let bench = Bench::new();
    bench.generate();
    let user = r#"
/// Uses everything by its name and type.
pub fn user(facts: &Facts) -> u64 {
    const { assert!(layout::SLOT == 64 && layout::SITE == 32) };
    const { assert!(Reason::None as u32 == 0 && Reason::Threads as u32 == 1 && Reason::ALL.len() == 2) };
    const { assert!(matches!(Reason::from_number(2), Reason::UnknownObject)) };
    const { assert!(matches!(Reason::from_number(3), Reason::None)) };
    const { assert!(matches!(Reason::Threads.kind(), ReasonKind::Process)) };
    const { assert!(push::SPEC.available && push::SPEC.syscall == 1 && push::SPEC.mirrors.len() == 2) };
    const { assert!(matches!(push::SPEC.kind, SpecKind::Path) && matches!(base::SPEC.kind, SpecKind::Common)) };
    const { assert!(push::SPEC.mirrors[1].watched && push::SPEC.mirrors[1].known) };
    const { assert!(matches!(push::SPEC.values[0].kept, Kept::Watch) && push::SPEC.values[0].events.len() == 1) };
    const { assert!(matches!(push::SPEC.values[0].reason, Reason::Threads)) };
    const { assert!(matches!(push::SPEC.values[3].source, Source::Call) && push::SPEC.values[3].class == 4) };
    const { assert!(matches!(push::SPEC.bails, [Bail::Full]) && base::SPEC.bails.is_empty() && Bail::ALL.len() == 1) };
    const { assert!(Target::NAMES.len() == 3 && matches!(Target::SWITCHES, [0])) };
    let mut target = Target { fast: true, ..Target::default() };
    target.set(1, target.get(0));
    let _: (bool, u64, u64) = (target.fast, target.door, Arrays::default().counts);
    let _: [&str; 3] = [Bail::Full.name(), Bail::Full.doc(), Bail::Full.cure()];
    let known = push::Known::new(facts);
    let seen = push::Seen { fd: 3 };
    let names: [&str; 3] = [SPECS[0].name, Reason::Threads.name(), RELEASE];
    known.flags + known.thing_fops + seen.fd + names.len() as u64
}
"#;
    compiles(&format!("{}{user}", bench.rust()), bench.dir.path());
}

#[test]
fn a_false_layout_condition_does_not_compile() {
    let bench = Bench::new();
    bench.edit("specs/arena.toml", "value = 32", "value = 65");
    bench.generate();
    let dir = bench.dir.path().to_path_buf();
    let failed = std::panic::catch_unwind(|| compiles(&bench.rust(), &dir))
        .expect_err("it must not compile");
    let text = failed.downcast_ref::<String>().expect("a message");
    assert!(text.contains("SITE < SLOT"), "{text}");
}

#[test]
fn c_says_the_same() {
    let bench = Bench::new();
    bench.generate();
    let header = bench.read("out/synthjit_specs.h");
    let code = header
        .find("#ifndef __ASSEMBLER__")
        .expect("a part for C only");
    for (text, for_c_only) in [
        ("#define SYNTHJIT_SLOT 64\n", false),
        ("#define SYNTHJIT_SITE 32\n", false),
        ("SYNTHJIT_REASON_NONE = 0,", true),
        ("SYNTHJIT_REASON_THREADS = 1,", true),
        ("SYNTHJIT_REASON_UNKNOWN_OBJECT = 2,", true),
        ("\tu64 flags;", true),
        ("\tu64 thing_fops;", true),
        ("\tbool fast;", true),
        ("\tu64 door;", true),
        ("\tu64 counts;", true),
    ] {
        let at = header.find(text).unwrap_or_else(|| panic!("no {text}"));
        assert_eq!(at > code, for_c_only, "{text}");
    }
    let filler = bench.read("out/synthjit_specs.c");
    assert!(filler.contains("#include <linux/sched.h>"));
    assert!(filler.contains("#include <asm/cpufeature.h>"));
    for statement in [
        "\tt->fast = (bool)(boot_cpu_has(X86_FEATURE_FAST));\n",
        "\tt->door = (unsigned long)(thing_door);\n",
        "\tt->word = synthjit_symbol(\"thing_word\");\n\tif (!t->word)\n\t\treturn \"thing_word\";\n",
        "\ta->counts = (unsigned long)(thing_counts);\n",
    ] {
        assert!(filler.contains(statement), "{statement}{filler}");
    }
    assert!(filler.contains("\tf->flags = (u64)(offsetof(struct thing, flags));"));
    assert!(filler.contains("static_assert(sizeof(long) == 8,"));
    assert!(filler.contains("{ \"thing_fops\", offsetof(struct synthjit_facts, thing_fops) },"));
    assert!(filler.contains("synthjit_symbol_facts_len = 1;"));
    assert!(filler.contains(
        "synthjit_watched_functions[] = {\n\t{ \"thing_push\", false },\n\t{ NULL }\n};"
    ));
}

/// Types and names of the fields of a struct, which are written differently in Rust and in C.
fn fields(text: &str, head: &str) -> Vec<String> {
    let body = &text[text.find(head).expect("the struct") + head.len()..];
    let body = &body[..body.find("\n}").expect("its end")];
    let field = |line: &str| match line.trim().strip_prefix("pub ") {
        Some(rust) => {
            let (name, of) = rust.trim_end_matches(',').split_once(": ")?;
            Some(format!("{of} {name}"))
        }
        None => Some(line.trim().strip_suffix(';')?.to_owned()),
    };
    body.lines().filter_map(field).collect()
}

#[test]
fn c_and_rust_have_one_layout() {
    let bench = Bench::new();
    specc::generate(&project_specs(), &bench.out(), None).expect("the project's specs are right");
    let (rust, header) = (bench.rust(), bench.read("out/synthjit_specs.h"));
    for (of, name, least) in [
        ("Facts", "facts", 30),
        ("Target", "target", 9),
        ("Arrays", "arrays", 5),
    ] {
        let rust = fields(
            &rust,
            &format!("#[repr(C)]\n#[derive(Clone, Copy, Debug, Default)]\npub struct {of} {{"),
        );
        let c = fields(&header, &format!("struct synthjit_{name} {{"));
        assert!(rust.len() >= least, "{rust:?}");
        assert_eq!(rust, c, "{of}");
    }
}

/// A fact is the same by its name, by its place, and in the field.
#[test]
fn facts_of_the_machine_by_place() {
    let bench = Bench::new();
    bench.generate();
    let checks = r#"
const fn is(mut target: Target, at: usize, value: u64) -> Target {
    target.set(at, value);
    assert!(target.get(at) == value && target.get(at + 1) == 0);
    target
}

const _: () = {
    let nothing = Target { fast: false, door: 0, word: 0 };
    assert!(is(nothing, 0, 1).fast && !is(nothing, 0, 0).fast);
    assert!(is(nothing, 1, 7).door == 7 && is(nothing, 2, 1 << 63).word == 1 << 63);
    assert!(matches!(Target::NAMES[0].as_bytes(), b"fast") && matches!(Target::NAMES[2].as_bytes(), b"word"));
    assert!(is(nothing, 3, 0).get(3) == 0);
};
"#;
    compiles(&format!("{}{checks}", bench.rust()), bench.dir.path());
}

#[test]
fn conditions_of_values_reach_the_c_file() {
    let bench = Bench::new();
    bench.edit(
        "specs/base.toml",
        "c = \"offsetof(",
        "when = \"IS_ENABLED(CONFIG_X)\"\nc = \"offsetof(",
    );
    bench.generate();
    let filler = bench.read("out/synthjit_specs.c");
    let wanted = "#if IS_ENABLED(CONFIG_X)\n\tf->flags = (u64)(offsetof(struct thing, flags));\n#else\n\tf->flags = 0;\n#endif\n";
    assert!(filler.contains(wanted), "{filler}");
}

#[test]
fn conditions_of_watched_functions_reach_the_c_file() {
    let bench = Bench::new();
    bench.edit(
        "specs/push.toml",
        "watched = true",
        "watched = true\nwatched_when = \"IS_ENABLED(CONFIG_X)\"",
    );
    bench.generate();
    let filler = bench.read("out/synthjit_specs.c");
    let wanted = "synthjit_watched_functions[] = {\n#if IS_ENABLED(CONFIG_X)\n\t{ \"thing_push\", false },\n#endif\n\t{ NULL }\n};";
    assert!(filler.contains(wanted), "{filler}");
}

#[test]
fn what_is_left_out_need_not_compile() {
    let bench = Bench::new();
    bench.edit("kernel/fs/thing.c", "|= x", "= x");
    bench.generate();
    let filler = bench.read("out/synthjit_specs.c");
    assert!(
        !filler.contains("sizeof(long)"),
        "asserts of a path that is left out"
    );
    assert!(
        !filler.contains("{ \"thing_fops\""),
        "symbols that only it needs"
    );
    assert!(filler.contains("f->flags = "), "what is common stays");
    compiles(&bench.rust(), bench.dir.path());
}

#[test]
fn same_specs_same_bytes() {
    let (one, two) = (Bench::new(), Bench::new());
    one.generate();
    two.generate();
    for file in ["specs.rs", "synthjit_specs.h", "synthjit_specs.c"] {
        let text = one.read(&format!("out/{file}"));
        assert_eq!(text, two.read(&format!("out/{file}")), "{file}");
        let place = one.dir.path().to_string_lossy().into_owned();
        assert!(
            !text.contains(&place),
            "{file} names a folder of this machine"
        );
    }
}

#[test]
fn unchanged_files_are_not_touched() {
    let bench = Bench::new();
    let report = bench.generate();
    let files = [&report.rust, &report.header, &report.filler];
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for file in files {
        fs::File::options()
            .append(true)
            .open(file)
            .and_then(|f| f.set_modified(old))
            .expect("a file of ours");
    }
    let times = || {
        files.map(|f| {
            fs::metadata(f)
                .and_then(|m| m.modified())
                .expect("it is there")
        })
    };
    bench.generate();
    assert_eq!(times(), [old; 3]);
    bench.edit("specs/arena.toml", "value = 64", "value = 128");
    bench.generate();
    let [rust, header, filler] = times();
    assert!(rust > old && header > old, "they hold the number");
    assert_eq!(filler, old, "it does not");
}

#[test]
fn the_projects_own_specs() {
    let bench = Bench::new();
    let report = specc::generate(&project_specs(), &bench.out(), None)
        .expect("the project's specs are right");
    assert!(report.unknown.is_empty());
    compiles(&bench.rust(), bench.dir.path());
}

/// The pinned kernels are ones that were reviewed: nothing is left out of their modules.
#[test]
fn the_projects_specs_know_the_pinned_kernels() {
    let Some(sources) = std::env::var_os("SYNTHJIT_KERNEL_SOURCES") else {
        eprintln!("skipped: SYNTHJIT_KERNEL_SOURCES names no kernel source; `make test` sets it");
        return;
    };
    for source in std::env::split_paths(&sources) {
        let bench = Bench::new();
        let kernel = specc::Kernel {
            source: &source,
            release: "pinned",
        };
        let report = specc::generate(&project_specs(), &bench.out(), Some(kernel))
            .expect("the project's specs are right");
        assert_eq!(report.unknown, Vec::<String>::new(), "{source:?}");
        assert!(
            !bench.rust().contains("available: false"),
            "{source:?}: a path is left out"
        );
    }
}

#[test]
fn passed_functions_and_keys_reach_the_c_file() {
    let bench = Bench::new();
    bench.edit(
        "specs/push.toml",
        "[[mirror]]",
        r#"[[function]]
name = "thing_lock"
optional = true
doc = "Takes the lock."

[[function]]
name = "thing_new"
when = "IS_ENABLED(CONFIG_X)"
doc = "Passed too."

[[key]]
name = "thing_debug"
state = "off"
doc = "A path checks nothing."

[[key]]
name = "thing_hook_*"
state = "boot"
doc = "They do not change."

[[mirror]]"#,
    );
    bench.generate();
    let filler = bench.read("out/synthjit_specs.c");
    for wanted in [
        "\t{ \"thing_lock\", true },\n#if IS_ENABLED(CONFIG_X)\n\t{ \"thing_new\", false },\n#endif\n\t{ \"thing_push\", false },\n",
        "\t{ \"thing_debug\", SYNTHJIT_KEY_OFF },\n\t{ \"thing_hook_*\", SYNTHJIT_KEY_BOOT },\n\t{ NULL }\n};",
    ] {
        assert!(filler.contains(wanted), "{filler}");
    }
}
