//! What is remembered of a process that ended while it was attached: a line of the listing `exited`.

use crate::status::Bailed;

/// What the paths of a process did.
#[derive(Clone, Debug, Default)]
pub struct Exited {
    pub read: Did,
    pub write: Did,
}

/// What its paths did for one call.
#[derive(Clone, Debug, Default)]
pub struct Did {
    /// Calls that they did themselves.
    pub hits: u64,
    /// Calls that bailed out, the most frequent reason first.
    pub bailouts: Vec<Bailed>,
}

impl Did {
    /// All calls that bailed out.
    pub fn bailed_out(&self) -> u64 {
        self.bailouts.iter().map(|bailed| bailed.count).sum()
    }
}

impl Exited {
    /// The line of process `pid` in the listing.
    pub fn find(text: &str, pid: i32) -> Option<Self> {
        text.lines().find_map(|line| {
            let (number, rest) = line.split_once(' ')?;
            (number.parse() == Ok(pid)).then(|| Self::parse(rest))?
        })
    }

    /// Pairs of a word and a number: a call and its hits, or `CALL.REASON` and how often. `None` if they are not.
    fn parse(pairs: &str) -> Option<Self> {
        let words: Vec<&str> = pairs.split(' ').collect();
        let mut exited = Self::default();
        for pair in words.chunks(2) {
            let [name, count] = pair else {
                return None;
            };
            let count = count.parse().ok()?;
            let (call, reason) = match name.split_once('.') {
                Some((call, reason)) => (call, Some(reason)),
                None => (*name, None),
            };
            let did = match call {
                "read" => &mut exited.read,
                "write" => &mut exited.write,
                _ => return None,
            };
            match reason {
                Some(reason) => did.bailouts.push(Bailed::new(reason, count)),
                None => did.hits = count,
            }
        }
        for did in [&mut exited.read, &mut exited.write] {
            did.bailouts
                .sort_by_key(|bailed| std::cmp::Reverse(bailed.count));
        }
        Some(exited)
    }
}
