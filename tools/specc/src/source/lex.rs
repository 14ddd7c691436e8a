//! Cuts kernel source (C, and assembly that goes through the C preprocessor) into tokens.
//!
//! Comments vanish, white space only separates. A line break is a token of its own where it means something: it ends
//! a preprocessor directive, and in assembly an instruction, which `find` needs not care about.

/// Ends a preprocessor directive.
pub const END_OF_DIRECTIVE: &str = "\n";

const OPERATORS: &[&str] = &[
    "<<=", ">>=", "...", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=",
    "-=", "*=", "/=", "%=", "&=", "|=", "^=", "##",
];

/// All tokens of `source`. A directive's `#` and name are one token (`#define`), whatever stands between them.
pub fn tokens(source: &str) -> Vec<String> {
    let source = source.replace("\r\n", "\n").replace("\\\n", " ");
    let mut lexer = Lexer {
        rest: &source,
        out: Vec::new(),
        directive: false,
        fresh_line: true,
    };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    rest: &'a str,
    out: Vec<String>,
    directive: bool,
    /// Nothing but white space since the last line break.
    fresh_line: bool,
}

impl<'a> Lexer<'a> {
    fn take(&mut self, len: usize) -> &'a str {
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        head
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let len = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.take(len)
    }

    /// One token, comment or stretch of white space. False at the end of the source.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            self.end_directive();
            return false;
        };
        if first == '\n' {
            self.take(1);
            self.end_directive();
            self.fresh_line = true;
        } else if first.is_whitespace() {
            self.take(first.len_utf8());
        } else if self.rest.starts_with("/*") {
            let len = self.rest.find("*/").map_or(self.rest.len(), |at| at + 2);
            self.take(len);
        } else if self.rest.starts_with("//") {
            self.take_while(|c| c != '\n');
        } else if first == '#' && self.fresh_line {
            self.directive();
        } else {
            self.fresh_line = false;
            let token = self.token(first);
            self.out.push(token.to_owned());
        }
        true
    }

    fn directive(&mut self) {
        self.take(1);
        self.take_while(|c| c == ' ' || c == '\t');
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        self.out.push(format!("#{name}"));
        self.directive = true;
        self.fresh_line = false;
    }

    fn end_directive(&mut self) {
        if self.directive {
            self.out.push(END_OF_DIRECTIVE.to_owned());
            self.directive = false;
        }
    }

    fn token(&mut self, first: char) -> &'a str {
        if first.is_ascii_alphanumeric() || first == '_' {
            return self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        }
        if first == '"' || first == '\'' {
            let len = quoted(self.rest, first);
            return self.take(len);
        }
        let len = OPERATORS
            .iter()
            .find(|op| self.rest.starts_with(**op))
            .map_or(first.len_utf8(), |op| op.len());
        self.take(len)
    }
}

/// Length of the string or character constant at the start of `text`. An apostrophe without its partner on the line
/// (assembly comments, `#error` texts) stands for itself.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    1
}
