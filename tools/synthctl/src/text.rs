//! Text for terminals of 80 columns.

/// Columns that everything must fit.
pub const WIDTH: usize = 80;

/// `text` in lines of at most [`WIDTH`] columns that all begin with `indent` spaces; the first does not, since its caller has
/// already written that much.
pub fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out
}

/// `text` in at most `width` columns; what is cut off is shown by two dots.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    kept + ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_keep_every_word() {
        let text = "word ".repeat(60);
        let wrapped = wrap(&text, 10);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH));
        assert!(wrapped
            .lines()
            .skip(1)
            .all(|line| line.starts_with("          word")));
        assert_eq!(wrapped.split_whitespace().count(), 60);
    }

    #[test]
    fn cutting_shows_itself() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcd..");
    }
}
