//! Documents argue from bytes and sources: what they quote must be what is there.

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

#[test]
fn what_a_document_quotes_is_what_is_there() {
    for (name, doc, least) in DOCS {
        let quotes = quotes(doc);
        assert!(quotes.len() >= least, "{name} has only {}", quotes.len());
        for quote in &quotes {
            let (of, first) = (quote.of, quote.first);
            let source = source(quote)
                .unwrap_or_else(|| panic!("{name}:{first}: there is nothing called {of}"));
            assert!(
                !quote.lines.is_empty()
                    && source
                        .windows(quote.lines.len())
                        .any(|part| part == quote.lines),
                "{name}:{first}: {of} has no such lines one after the other:\n{}",
                quote.lines.join("\n")
            );
        }
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
