//! What the plugin counted: the file that `tools/count-plugin` writes.

use anyhow::{bail, Context, Result};

/// One section: how often each address was executed, in the order in which they first were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<(u64, u64)>);

impl Counts {
    /// All instructions.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

/// The sections of a file, in order.
pub fn parse(text: &str) -> Result<Vec<Counts>> {
    let mut sections: Vec<Counts> = Vec::new();
    for line in text.lines() {
        if line == "section" {
            sections.push(Counts::default());
            continue;
        }
        let section = sections
            .last_mut()
            .context("the counts begin with no section")?;
        let Some((address, count)) = line.split_once(' ') else {
            bail!("the counts have a line {line:?}");
        };
        section
            .0
            .push((u64::from_str_radix(address, 16)?, count.parse()?));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read() {
        let sections = parse("section\nff10 1\nff14 40\nsection\nsection\n7f00 2\n").unwrap();
        assert_eq!(sections.len(), 3);
        assert_eq!(sections[0], Counts(vec![(0xff10, 1), (0xff14, 40)]));
        assert_eq!([0, 1, 2].map(|n: usize| sections[n].sum()), [41, 0, 2]);
        for wrong in ["ff10 1", "section\nff10", "section\nxx 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
