//! Finds definitions in a stream of tokens.

use std::ops::Range;

use super::lex::END_OF_DIRECTIVE;
use crate::schema::MirrorKind;

/// Token ranges of all definitions of `name`, in order.
pub fn definitions(tokens: &[String], kind: MirrorKind, name: &str) -> Vec<Range<usize>> {
    match kind {
        MirrorKind::Macro => macros(tokens, name),
        MirrorKind::Asm => assembly(tokens, name),
        MirrorKind::Function => outer(tokens, |t, at| function(t, at, name)),
        MirrorKind::Syscall => outer(tokens, |t, at| syscall(t, at, name)),
        MirrorKind::Struct => outer(tokens, |t, at| aggregate(t, at, name)),
        MirrorKind::Variable => outer(tokens, |t, at| variable(t, at, name)),
        MirrorKind::Invocation => outer(tokens, |t, at| invocation(t, at, name)),
    }
}

fn is(tokens: &[String], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|t| t == text)
}

fn macros(tokens: &[String], name: &str) -> Vec<Range<usize>> {
    (0..tokens.len())
        .filter(|&at| is(tokens, at, "#define") && is(tokens, at + 1, name))
        .map(|at| at..line_end(tokens, at))
        .collect()
}

/// Index after the end of the directive that `at` lies in.
fn line_end(tokens: &[String], at: usize) -> usize {
    tokens[at..]
        .iter()
        .position(|t| t == END_OF_DIRECTIVE)
        .map_or(tokens.len(), |n| at + n + 1)
}

fn assembly(tokens: &[String], name: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let symbol = tokens[at].starts_with("SYM_") && tokens[at].contains("_START");
        if symbol && is(tokens, at + 1, "(") && is(tokens, at + 2, name) {
            let end = (at..tokens.len()).find(|&e| {
                tokens[e].starts_with("SYM_")
                    && tokens[e].ends_with("_END")
                    && is(tokens, e + 2, name)
            });
            // The text may end in the midst of it.
            found.extend(end.map(|end| at..(end + 4).min(tokens.len())));
        }
        if is(tokens, at, ".") && is(tokens, at + 1, "macro") && is(tokens, at + 2, name) {
            let end = (at..tokens.len()).find(|&e| is(tokens, e, ".") && is(tokens, e + 1, "endm"));
            found.extend(end.map(|end| at..end + 2));
        }
    }
    found
}

/// Walks the outermost level of a C file and collects what `matcher` finds there. The matcher sees the index of a
/// token outside all braces and gives the range of the definition around it.
fn outer(
    tokens: &[String],
    matcher: impl Fn(&Outer<'_>, usize) -> Option<Range<usize>>,
) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut at, mut start) = (0, 0);
    while at < tokens.len() {
        if tokens[at].starts_with('#') && tokens[at].len() > 1 && tokens[at] != "##" {
            at = line_end(tokens, at);
            // A directive between two parts of one head (`static\n#ifdef …`) does not occur in what we mirror.
            start = at;
            continue;
        }
        if let Some(range) = matcher(&Outer { tokens, start }, at) {
            at = range.end;
            start = at;
            found.push(range);
            continue;
        }
        match tokens[at].as_str() {
            "{" => {
                at = close(tokens, at, "{", "}");
                if !is(tokens, at, ";") && !is(tokens, at, "=") {
                    start = at;
                }
            }
            ";" => {
                at += 1;
                start = at;
            }
            _ if at == start && lone_invocation(tokens, at) => {
                at = close(tokens, at + 1, "(", ")");
                start = at;
            }
            _ => at += 1,
        }
    }
    found
}

/// A macro call that stands for a whole declaration and has no semicolon: what follows belongs to something else.
fn lone_invocation(tokens: &[String], at: usize) -> bool {
    let name = &tokens[at];
    let loud = name.len() > 1
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    loud && is(tokens, at + 1, "(") && {
        let end = close(tokens, at + 1, "(", ")");
        !is(tokens, end, "{") && !is(tokens, end, ";")
    }
}

struct Outer<'a> {
    tokens: &'a [String],
    /// Where the declaration that the token belongs to begins.
    start: usize,
}

/// Index after the bracket that closes the one at `at`. Branches of `#if` may each open the same bracket, so the
/// depth at `#if` comes back at each `#else`.
fn close(tokens: &[String], at: usize, open: &str, shut: &str) -> usize {
    let mut depth = 0usize;
    let mut branches = Vec::new();
    let mut i = at;
    while i < tokens.len() {
        match tokens[i].as_str() {
            "#if" | "#ifdef" | "#ifndef" => branches.push(depth),
            "#else" | "#elif" => depth = branches.last().copied().unwrap_or(depth),
            "#endif" => {
                branches.pop();
            }
            t if t == open => depth += 1,
            t if t == shut => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    tokens.len()
}

fn function(outer: &Outer<'_>, at: usize, name: &str) -> Option<Range<usize>> {
    let tokens = outer.tokens;
    if !is(tokens, at, name) || !is(tokens, at + 1, "(") {
        return None;
    }
    let body = after_attributes(tokens, close(tokens, at + 1, "(", ")"));
    is(tokens, body, "{").then(|| outer.start..close(tokens, body, "{", "}"))
}

/// Skips `__must_hold(x)` and the like between a parameter list and the body.
fn after_attributes(tokens: &[String], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|t| t.starts_with("__")) {
        at += 1;
        if is(tokens, at, "(") {
            at = close(tokens, at, "(", ")");
        }
    }
    at
}

fn syscall(outer: &Outer<'_>, at: usize, name: &str) -> Option<Range<usize>> {
    let tokens = outer.tokens;
    let head = tokens[at].starts_with("SYSCALL_DEFINE")
        && is(tokens, at + 1, "(")
        && is(tokens, at + 2, name);
    let body = head.then(|| close(tokens, at + 1, "(", ")"))?;
    is(tokens, body, "{").then(|| outer.start..close(tokens, body, "{", "}"))
}

fn aggregate(outer: &Outer<'_>, at: usize, name: &str) -> Option<Range<usize>> {
    let tokens = outer.tokens;
    let keyword = ["struct", "union", "enum"]
        .iter()
        .any(|k| is(tokens, at, k));
    let plain = keyword && is(tokens, at + 1, name) && is(tokens, at + 2, "{");
    let by_macro = is(tokens, at + 1, "(") && is(tokens, at + 2, name) && is(tokens, at + 3, ")");
    let body = if plain {
        at + 2
    } else if by_macro && is(tokens, at + 4, "{") {
        at + 4
    } else {
        return None;
    };
    let shut = close(tokens, body, "{", "}");
    // Attributes such as __randomize_layout stand before the semicolon and change the layout.
    let end = tokens[shut..]
        .iter()
        .position(|t| t == ";")
        .map_or(shut, |n| shut + n + 1);
    Some(at..end)
}

fn invocation(outer: &Outer<'_>, at: usize, name: &str) -> Option<Range<usize>> {
    let tokens = outer.tokens;
    let loud = tokens[at].starts_with(|c: char| c.is_ascii_uppercase());
    if !loud || at != outer.start || !is(tokens, at + 1, "(") {
        return None;
    }
    let end = close(tokens, at + 1, "(", ")");
    let named = (at + 2..end)
        .any(|i| is(tokens, i, name) && (is(tokens, i - 1, "(") || is(tokens, i - 1, ",")));
    // Calls without a semicolon follow each other, so the next one begins right here.
    named.then_some(at..end)
}

fn variable(outer: &Outer<'_>, at: usize, name: &str) -> Option<Range<usize>> {
    let tokens = outer.tokens;
    if !is(tokens, at, name) {
        return None;
    }
    let mut i = at + 1;
    while is(tokens, i, "[") {
        i = close(tokens, i, "[", "]");
    }
    if !is(tokens, i, "=") {
        return None;
    }
    let mut end = i;
    while end < tokens.len() && !is(tokens, end, ";") {
        end = if is(tokens, end, "{") {
            close(tokens, end, "{", "}")
        } else {
            end + 1
        };
    }
    Some(outer.start..(end + 1).min(tokens.len()))
}
