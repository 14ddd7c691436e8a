//! Documents argue from bytes and sources: what they quote must be what is there. `SYNTH_BLESS=1 cargo test -p synthjit-engine`
//! renews numbers and names of places in what is quoted; another instruction is for a person to look at.

use std::path::Path;

use crate::golden;

/// Documents, and how many quotations each has at least.
const DOCS: [(&str, &str, usize); 2] = [
    (
        "docs/security.md",
        include_str!("../../../../docs/security.md"),
        8,
    ),
    (
        "docs/how-a-path-is-made.md",
        include_str!("../../../../docs/how-a-path-is-made.md"),
        10,
    ),
];

/// A quotation: the language and the file that its block names, its lines, and the number of the first in the document.
struct Quote<'a> {
    language: &'a str,
    of: &'a str,
    first: usize,
    lines: Vec<&'a str>,
}

/// Blocks that begin with "```LANGUAGE FILE".
fn quotes(doc: &str) -> Vec<Quote<'_>> {
    let mut quotes: Vec<Quote> = Vec::new();
    let mut inside = false;
    for (number, line) in doc.lines().enumerate() {
        if let (false, Some((language, of))) = (
            inside,
            line.strip_prefix("```")
                .and_then(|rest| rest.split_once(' ')),
        ) {
            inside = true;
            quotes.push(Quote {
                language,
                of,
                first: number + 2,
                lines: Vec::new(),
            });
        } else if line.starts_with("```") {
            inside = false;
        } else if let (true, Some(quote)) = (inside, quotes.last_mut()) {
            quote.lines.push(line.trim_end());
        }
    }
    quotes
}

/// What is quoted: for "code" a golden listing with its bytes, else a file of the project.
fn source(quote: &Quote) -> Option<Vec<String>> {
    if quote.language == "code" {
        return golden::listing(&format!("{}.txt", quote.of));
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(project.join(quote.of)).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// An instruction without what changes when code moves: its bytes, numbers, and names of places.
fn instruction(line: &str) -> String {
    let text = line.trim_start();
    let text = match text.split_once("  ") {
        Some((bytes, text)) if bytes.split(' ').all(|b| u8::from_str_radix(b, 16).is_ok()) => text,
        _ => text,
    };
    let mut plain = String::new();
    let mut inside = false;
    for c in text.chars() {
        let begins = c.is_ascii_digit() || c == 'L';
        let goes_on = inside && c.is_ascii_alphanumeric();
        inside = goes_on || begins && !plain.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !inside {
            plain.push(c);
        } else if !goes_on {
            plain.push('#');
        }
    }
    plain
}

/// The lines of `source` with the same instructions as `quote`, if it is of code.
fn renewed<'s>(quote: &Quote, source: &'s [String]) -> Option<&'s [String]> {
    let same = |part: &[String]| {
        let pairs = part.iter().zip(&quote.lines);
        pairs
            .into_iter()
            .all(|(a, b)| instruction(a) == instruction(b))
    };
    let code = ["code", "asm"].contains(&quote.language);
    let mut parts = source.windows(quote.lines.len());
    parts.find(|part| code && same(part))
}

#[test]
fn what_a_document_quotes_is_what_is_there() {
    let bless = std::env::var_os("SYNTH_BLESS").is_some_and(|value| value == "1");
    for (name, doc, least) in DOCS {
        let quotes = quotes(doc);
        assert!(quotes.len() >= least, "{name} has only {}", quotes.len());
        let mut lines: Vec<String> = doc.lines().map(str::to_owned).collect();
        for quote in &quotes {
            let (of, first) = (quote.of, quote.first);
            let source = source(quote)
                .unwrap_or_else(|| panic!("{name}:{first}: there is nothing called {of}"));
            let (begin, len) = (first - 1, quote.lines.len());
            let there = len > 0 && source.windows(len).any(|part| part == quote.lines);
            let renewed = renewed(quote, &source).filter(|_| bless && !there);
            match renewed {
                Some(new) => lines[begin..begin + len].clone_from_slice(new),
                None => assert!(
                    there,
                    "{name}:{first}: {of} has no such lines one after the other (SYNTH_BLESS=1 renews numbers):\n{}",
                    quote.lines.join("\n")
                ),
            }
        }
        if lines.iter().map(String::as_str).ne(doc.lines()) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../..")
                .join(name);
            std::fs::write(path, lines.join("\n") + "\n").expect("the document is renewed");
        }
    }
}

#[test]
fn an_instruction_is_known_again_when_it_has_moved() {
    let same = [
        ("0f 87 12 01 00 00  ja L4", "0f 87 16 01 00 00  ja L12"),
        (
            "    cmp qword ptr [rbx+0x98],0",
            "    cmp qword ptr [rbx+0xd0],0",
        ),
    ];
    for (a, b) in same {
        assert_eq!(instruction(a), instruction(b));
    }
    let others = [
        ("0f 87 12 01 00 00  ja L4", "0f 83 12 01 00 00  jae L4"),
        ("    mov rax,[rbx+8]", "    mov rax,[rcx+8]"),
        ("    dec dword ptr [budget]", "    inc dword ptr [budget]"),
    ];
    for (a, b) in others {
        assert_ne!(instruction(a), instruction(b));
    }
}

/// Each construct that the argument of docs/security.md rests on is quoted.
#[test]
fn every_mitigation_is_quoted() {
    let text: Vec<&str> = quotes(DOCS[0].1)
        .into_iter()
        .flat_map(|quote| quote.lines)
        .collect();
    for word in [
        "cmova", "verw", "stac", "clac", "swapgs", "sysretq", "endbr64", "cmpxchg", "call",
    ] {
        assert!(
            text.iter().any(|line| line.contains(&format!("  {word}"))
                || line.contains(&format!("  lock {word}"))),
            "{word} is not quoted"
        );
    }
}
