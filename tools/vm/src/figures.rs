//! Reads the lines `BENCH figure mode median [title ...]` that the guest's benchmark prints.

/// One call: instructions without and with synthjit.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    pub title: String,
    pub stock: u64,
    pub attached: u64,
}

/// The calls that were measured in both modes, in order. What a first call costs is no figure of a call: it has the synthesis in it.
pub fn pairs<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Pair> {
    let figures: Vec<_> = lines.filter_map(figure).collect();
    let stock = figures
        .iter()
        .filter(|figure| figure.mode == "stock" && !figure.name.starts_with("first_"));
    stock
        .filter_map(|stock| {
            let attached = figures
                .iter()
                .find(|other| other.name == stock.name && other.mode == "attached")?;
            let title = if stock.title.is_empty() {
                stock.name.replace('_', " ")
            } else {
                stock.title.clone()
            };
            Some(Pair {
                title,
                stock: stock.median,
                attached: attached.median,
            })
        })
        .collect()
}

struct Figure<'a> {
    name: &'a str,
    mode: &'a str,
    median: u64,
    title: String,
}

fn figure(line: &str) -> Option<Figure<'_>> {
    let mut words = line.strip_prefix("BENCH ")?.split_whitespace();
    let (name, mode, median) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    Some(Figure {
        name,
        mode,
        median,
        title: words.collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_need_both_modes() {
        let text = "BENCH a stock 100 first call\nBENCHMIN a stock 99\nnoise\nBENCH a loaded 100\nBENCH a attached 10\n\
                    BENCH b_c stock 5\nBENCH b_c attached 6\nBENCH c stock 1\nBENCH d attached 1\nBENCH e stock x\n\
                    BENCH first_write stock 5\nBENCH first_write attached 20000";
        assert_eq!(
            pairs(text.lines()),
            [
                Pair {
                    title: "first call".to_owned(),
                    stock: 100,
                    attached: 10
                },
                Pair {
                    title: "b c".to_owned(),
                    stock: 5,
                    attached: 6
                },
            ]
        );
    }
}
