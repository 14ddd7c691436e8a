//! What a fingerprint sees and what it does not, and what happens when one is not known.

mod common;

use common::{Bench, THING_C};
use specc::schema::MirrorKind;
use specc::source::fingerprint;

const FUNCTION: MirrorKind = MirrorKind::Function;

fn push(source: &str) -> String {
    fingerprint(source, FUNCTION, "thing_push").expect("thing_push is there")
}

#[test]
fn white_space_and_comments_do_not_matter() {
    let other = THING_C
        .replace(
            "\tif (x < 0) // no such x\n",
            "if(x<0)/* nothing\nlike it */",
        )
        .replace("return -EINVAL;", "return\r\n\t- EINVAL ; // why not")
        .replace("{\n\tif", "{ /* a comment with { and \" in it */ if");
    assert_ne!(other, THING_C);
    assert_eq!(push(&other), push(THING_C));
}

#[test]
fn tokens_matter() {
    for (old, new) in [
        ("x < 0", "x <= 0"),
        ("|= x", "^= x"),
        ("-EINVAL", "-EIO"),
        ("int x)", "long x)"),
        ("static int thing_push", "int thing_push"),
    ] {
        let other = THING_C.replace(old, new);
        assert_ne!(other, THING_C, "{old}");
        assert_ne!(push(&other), push(THING_C), "{old}");
    }
}

#[test]
fn joining_and_splitting_tokens_matters() {
    let print =
        |body: &str| fingerprint(&format!("int f(void) {{ {body} }}"), FUNCTION, "f").expect("f");
    assert_ne!(print("a - -b;"), print("a --b;"));
    assert_ne!(print("return xy;"), print("return x y;"));
    assert_ne!(
        print("s = \"a b\";"),
        print("s = \"a  b\";"),
        "white space in a string counts"
    );
    assert_ne!(
        print("s = \"/* a */\";"),
        print("s = \"\";"),
        "a string holds no comment"
    );
    assert_eq!(
        print("a\\\n= 1;"),
        print("a = 1;"),
        "a continued line is one line"
    );
}

#[test]
fn neighbours_do_not_matter() {
    let other = THING_C
        .replace("return t->flags;", "return 7;")
        .replace("struct thing {", "struct thing { int more;");
    assert_eq!(push(&other), push(THING_C));
}

#[test]
fn calls_and_declarations_are_no_definitions() {
    let source = "int f(int);\nint g(void) { return f(1); }\n";
    assert_eq!(fingerprint(source, FUNCTION, "f"), None);
    assert_eq!(
        fingerprint("/* int f(void) { } */ // int f(void) { }\n", FUNCTION, "f"),
        None
    );
    let with = format!("{source}int f(int x) {{ return x; }}\n");
    assert_eq!(
        fingerprint(&with, FUNCTION, "f"),
        fingerprint("int f(int x){return x;}", FUNCTION, "f")
    );
}

#[test]
fn all_definitions_under_conditions_count() {
    let both = "#ifdef A\nstatic int f(void) { return 1; }\n#else\nstatic int f(void) { return 2; }\n#endif\n";
    let first = "#ifdef A\nstatic int f(void) { return 1; }\n#endif\n";
    let changed = both.replace("return 2", "return 3");
    let print = |s: &str| fingerprint(s, FUNCTION, "f").expect("f");
    assert_ne!(print(both), print(first));
    assert_ne!(print(both), print(&changed));
}

#[test]
fn braces_in_branches_of_a_condition() {
    let source = "int f(int a)\n{\n#ifdef A\n\tif (a) {\n#else\n\tif (!a) {\n#endif\n\t\tgo();\n\t}\n\treturn 0;\n}\nint g(void) { return 1; }\n";
    assert!(
        fingerprint(source, FUNCTION, "g").is_some(),
        "f must end where it ends"
    );
    let changed = source.replace("return 0", "return 2");
    assert_ne!(
        fingerprint(source, FUNCTION, "f"),
        fingerprint(&changed, FUNCTION, "f"),
        "the end of f is part of it"
    );
    let conditions = source.replace("#ifdef A", "#ifndef A");
    assert_ne!(
        fingerprint(source, FUNCTION, "f"),
        fingerprint(&conditions, FUNCTION, "f"),
        "conditions are part of it"
    );
}

/// The kind finds its text in `source`, and a change of `old` to `new` is seen, one of anything else is not.
#[track_caller]
fn finds(kind: MirrorKind, name: &str, source: &str, old: &str, new: &str) {
    let print = fingerprint(source, kind, name).unwrap_or_else(|| panic!("{name} is not found"));
    let changed = source.replace(old, new);
    assert_ne!(changed, source);
    assert_ne!(
        fingerprint(&changed, kind, name).as_ref(),
        Some(&print),
        "the change is not seen"
    );
    let around =
        format!("int before(void) {{ return 0; }}\n{source}\nint after(void) {{ return 0; }}\n");
    assert_eq!(
        fingerprint(&around, kind, name),
        Some(print),
        "what stands around is seen"
    );
}

#[test]
fn kinds() {
    finds(
        MirrorKind::Struct,
        "s",
        "struct s {\n\tint a;\n\tunion { int b; };\n} __packed;\n",
        "int b",
        "long b",
    );
    finds(
        MirrorKind::Struct,
        "s",
        "struct s { int a; } __packed;\n",
        "__packed",
        "__aligned(8)",
    );
    finds(
        MirrorKind::Struct,
        "m",
        "context_lock_struct(m) {\n\tlong owner;\n};\n",
        "long",
        "int",
    );
    finds(
        MirrorKind::Struct,
        "e",
        "enum e { A, B };\n",
        "A, B",
        "B, A",
    );
    finds(
        MirrorKind::Macro,
        "M",
        "#define M(x) \\\n\tgo(x)\n#define N 1\n",
        "go(x)",
        "go(y)",
    );
    finds(
        MirrorKind::Macro,
        "M",
        "#ifdef A\n# define M 1\n#else\n# define M 2\n#endif\n",
        "M 2",
        "M 3",
    );
    finds(
        MirrorKind::Syscall,
        "push",
        "SYSCALL_DEFINE2(push, int, fd, int, x)\n{\n\treturn go(fd, x);\n}\n",
        "go(fd, x)",
        "0",
    );
    finds(
        MirrorKind::Variable,
        "ops",
        "static const struct ops ops = {\n\t.push = push,\n};\n",
        ".push",
        ".pull",
    );
    finds(
        MirrorKind::Asm,
        "entry",
        "SYM_CODE_START(entry)\n\tswapgs\n\tcall x\nSYM_CODE_END(entry)\n",
        "swapgs",
        "nop",
    );
    finds(
        MirrorKind::Asm,
        "ENTER",
        ".macro ENTER reg\n\twrmsr\n.endm\n",
        "wrmsr",
        "rdmsr",
    );
    finds(
        MirrorKind::Invocation,
        "push",
        "HOOK(int, 0, pull, int x)\nHOOK(int, 0, push, int x)\n",
        "push, int",
        "push, long",
    );
}

/// A source may end anywhere.
#[test]
fn half_a_definition_is_no_fault() {
    let whole = "SYM_CODE_START(x)\n\tnop\nSYM_CODE_END(x)\n";
    for end in 0..whole.len() {
        let _ = fingerprint(&whole[..end], MirrorKind::Asm, "x");
    }
    assert!(fingerprint(whole, MirrorKind::Asm, "x").is_some());
}

#[test]
fn a_changed_function_is_reported_and_its_path_left_out() {
    let bench = Bench::new();
    assert_eq!(bench.generate().unknown, Vec::<String>::new());
    assert!(bench.rust().contains("known: true") && !bench.rust().contains("available: false"));

    bench.edit("kernel/fs/thing.c", "t->flags |= x;", "t->flags = x;");
    let unknown = bench.generate().unknown;
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    let line = &unknown[0];
    assert!(
        line.starts_with(
            "thing_push in fs/thing.c is not the text that was reviewed; left out: push ("
        ),
        "{line}"
    );
    assert!(
        line.contains(&push(&bench.read("kernel/fs/thing.c"))),
        "the new fingerprint is told: {line}"
    );
    let rust = bench.rust();
    assert_eq!(rust.matches("available: false").count(), 1, "push only");
    assert!(rust.contains("unavailable: &[\"thing_push in fs/thing.c has changed\"]"));
}

#[test]
fn a_change_of_a_common_spec_leaves_out_all_that_use_it() {
    let bench = Bench::new();
    bench.edit("kernel/kernel/entry.c", "go(1)", "go(2)");
    let unknown = bench.generate().unknown;
    assert!(unknown[0].contains("left out: base, push ("), "{unknown:?}");
    assert_eq!(bench.rust().matches("available: false").count(), 2);
}

#[test]
fn a_mirror_that_is_not_there() {
    let bench = Bench::new();
    bench.edit("kernel/fs/thing.c", "int thing_push(", "int thing_shove(");
    let unknown = bench.generate().unknown;
    assert!(
        unknown[0].starts_with("thing_push not found in fs/thing.c; left out: push ("),
        "{unknown:?}"
    );
    assert!(bench
        .rust()
        .contains("unavailable: &[\"thing_push not found in fs/thing.c\"]"));
    std::fs::remove_file(bench.kernel().join("fs/thing.c")).expect("it was there");
    assert!(bench.generate().unknown[0].starts_with("thing_push not found in fs/thing.c"));
}

#[test]
fn a_mirror_that_a_reviewed_series_does_without() {
    let bench = Bench::new();
    bench.edit(
        "specs/push.toml",
        "reviewed = { ",
        "reviewed = { \"7.3\" = \"absent\", ",
    );
    assert!(bench.generate().unknown.is_empty());
    bench.edit("kernel/fs/thing.c", "int thing_push(", "int thing_shove(");
    assert!(
        bench.generate().unknown.is_empty(),
        "the file without the function was reviewed"
    );
    std::fs::remove_file(bench.kernel().join("fs/thing.c")).expect("it was there");
    assert_eq!(
        bench.generate().unknown.len(),
        1,
        "a tree without the file proves nothing"
    );
}

#[test]
fn without_a_kernel_all_mirrors_count_as_known() {
    let bench = Bench::new();
    bench.edit("kernel/fs/thing.c", "int thing_push(", "int thing_shove(");
    let report = specc::generate(&bench.specs(), &bench.out(), None).expect("the specs are right");
    assert!(report.unknown.is_empty());
    assert!(!bench.rust().contains("available: false"));
}

#[test]
fn a_kernel_source_that_is_no_folder() {
    let bench = Bench::new();
    let kernel = specc::Kernel {
        source: &bench.dir.path().join("nowhere"),
        release: "",
    };
    let error = specc::generate(&bench.specs(), &bench.out(), Some(kernel))
        .expect_err("there is no such folder");
    assert!(
        error
            .to_string()
            .contains("nowhere: cannot read the kernel source"),
        "{error}"
    );
}
