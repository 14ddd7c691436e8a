//! Laws of the source itself: which layer may say what.

/// The engine's files that make code, by layer from above.
const FILES: &[(&str, &str)] = &[
    ("dispatch.rs", include_str!("../../../engine/dispatch.rs")),
    (
        "template/mod.rs",
        include_str!("../../../engine/template/mod.rs"),
    ),
    (
        "template/exits.rs",
        include_str!("../../../engine/template/exits.rs"),
    ),
    (
        "template/pipe.rs",
        include_str!("../../../engine/template/pipe.rs"),
    ),
    (
        "template/pipe_read.rs",
        include_str!("../../../engine/template/pipe_read.rs"),
    ),
    (
        "template/pipe_write.rs",
        include_str!("../../../engine/template/pipe_write.rs"),
    ),
    ("x86/door.rs", include_str!("../../../engine/x86/door.rs")),
    ("x86/guard.rs", include_str!("../../../engine/x86/guard.rs")),
    ("x86/masm.rs", include_str!("../../../engine/x86/masm.rs")),
    (
        "x86/mitigation.rs",
        include_str!("../../../engine/x86/mitigation.rs"),
    ),
    ("x86/asm.rs", include_str!("../../../engine/x86/asm.rs")),
    ("x86/buf.rs", include_str!("../../../engine/x86/buf.rs")),
];

/// Files that have `what` in their code, comments apart.
fn with(what: &str) -> Vec<&'static str> {
    let code = |text: &str| {
        text.lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .any(|l| l.contains(what))
    };
    FILES
        .iter()
        .filter(|(_, text)| code(text))
        .map(|(name, _)| *name)
        .collect()
}

/// The same, but for the file that makes each instruction.
fn users(what: &str) -> Vec<&'static str> {
    with(what)
        .into_iter()
        .filter(|f| *f != "x86/asm.rs")
        .collect()
}

#[test]
fn each_floor_calls_the_one_below() {
    assert_eq!(with("dynasm!("), ["x86/asm.rs"]);
    assert_eq!(
        with(".asm."),
        [
            "x86/door.rs",
            "x86/guard.rs",
            "x86/masm.rs",
            "x86/mitigation.rs"
        ]
    );
    assert_eq!(with("Asm::new("), ["x86/masm.rs"]);
}

#[test]
fn each_mitigation_has_one_door() {
    for instruction in ["stac()", "clac()", "verw_at(", "endbr64()", "cmova64_at("] {
        assert_eq!(users(instruction), ["x86/mitigation.rs"], "{instruction}");
    }
}

/// A machine that enters the kernel otherwise needs another door and nothing else (docs/fred.md).
#[test]
fn what_only_syscall_has_is_known_to_the_door_alone() {
    for word in [
        "swapgs",
        "sysret",
        "tss_sp2",
        "scratch_word",
        "set_rsp(",
        "save_rsp",
        "restore_rsp",
        "test_r11(",
        "target().stock_entry",
        "landing();",
    ] {
        assert_eq!(users(word), ["x86/door.rs"], "{word}");
    }
}

#[test]
fn nothing_can_panic_by_its_words() {
    for word in [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unsafe ",
    ] {
        assert_eq!(with(word), [""; 0], "{word}");
    }
    // The kernel module includes these files below another root.
    assert_eq!(with("crate::"), [""; 0]);
}
