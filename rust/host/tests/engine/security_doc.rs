//! `docs/security.md` argues from bytes: those that it quotes must be what the engine writes.

use crate::golden;

const DOC: &str = include_str!("../../../../docs/security.md");

/// A quotation: which golden file it is from, its lines with their numbers in the document.
struct Quote {
    of: String,
    lines: Vec<(usize, String)>,
}

/// Blocks that begin with "```code FILE".
fn quotes() -> Vec<Quote> {
    let mut quotes: Vec<Quote> = Vec::new();
    let mut inside = false;
    for (number, line) in DOC.lines().enumerate() {
        match (line.strip_prefix("```code "), line == "```") {
            (Some(of), _) => {
                inside = true;
                quotes.push(Quote {
                    of: of.to_owned(),
                    lines: Vec::new(),
                });
            }
            (None, true) => inside = false,
            (None, false) if inside => quotes
                .last_mut()
                .expect("a block is open")
                .lines
                .push((number + 1, line.to_owned())),
            (None, false) => {}
        }
    }
    quotes
}

#[test]
fn what_the_document_quotes_is_what_is_emitted() {
    let quotes = quotes();
    assert!(quotes.len() >= 8, "the document argues from bytes");
    for quote in &quotes {
        let listing = golden::listing(&format!("{}.txt", quote.of))
            .unwrap_or_else(|| panic!("there is no golden file {}", quote.of));
        let lines: Vec<&str> = quote
            .lines
            .iter()
            .map(|(_, line)| line.trim_end())
            .collect();
        let first = quote.lines.first().expect("a quotation has lines").0;
        assert!(
            listing.windows(lines.len()).any(|part| part == lines),
            "docs/security.md:{first}: {} has no such lines one after the other:\n{}",
            quote.of,
            lines.join("\n")
        );
    }
}

/// Each construct that the argument rests on is quoted.
#[test]
fn every_mitigation_is_quoted() {
    let text: Vec<String> = quotes()
        .into_iter()
        .flat_map(|q| q.lines.into_iter().map(|(_, line)| line))
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
