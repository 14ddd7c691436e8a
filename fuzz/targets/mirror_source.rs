//! Any text as the source of a kernel: looking for a definition never fails otherwise than by not finding it, and
//! neither comments before it nor the kind of line breaks change what is found.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use specc::schema::MirrorKind;
use specc::source::fingerprint;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kind: u8,
    text: &'a str,
}

const KINDS: [MirrorKind; 7] = [
    MirrorKind::Function,
    MirrorKind::Syscall,
    MirrorKind::Macro,
    MirrorKind::Asm,
    MirrorKind::Struct,
    MirrorKind::Variable,
    MirrorKind::Invocation,
];

fuzz_target!(|input: Input<'_>| {
    let Input { kind, text } = input;
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let print = fingerprint(text, kind, "x");
    if let Some(print) = &print {
        assert!(print.len() == 64 && print.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    let commented = format!("/* x() {{ */\n// x()\n{text}");
    assert_eq!(
        fingerprint(&commented, kind, "x"),
        print,
        "a comment counts"
    );
    if !text.contains('\r') {
        let broken = text.replace('\n', "\r\n");
        assert_eq!(fingerprint(&broken, kind, "x"), print, "line breaks count");
    }
});
