//! The reader's end of a stream: every byte is compared with the one that has to come.

use super::message::{digest, Header, Rules, HEADER, LONGEST, STOPPER, WRITERS};

/// What a reader of a stream knows. Plain data, since it lives in shared memory and changes hands by fork and exec.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Checker {
    pub rules: Rules,
    /// Number of the next message of each writer. Where readers share a pipe: the lowest that may come.
    next: [u64; WRITERS],
    /// Bit for each writer whose last message came.
    ended: u32,
    /// Not zero: other readers take messages too, so numbers may be missing here.
    shared: u32,
    have: u32,
    /// A message that is not complete.
    partial: [u8; LONGEST],
    pub bytes: u64,
    pub messages: u64,
    /// Sum of the messages' digests.
    pub sum: u64,
}

/// How a stream is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lost,
    Duplicated,
    Reordered,
    Changed,
}

/// A wrong stream: what kind, how many bytes, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub kind: Kind,
    pub bytes: u64,
    pub text: String,
}

impl Checker {
    pub fn new(rules: Rules, shared: bool) -> Checker {
        Checker {
            rules,
            next: [0; WRITERS],
            ended: 0,
            shared: u32::from(shared),
            have: 0,
            partial: [0; LONGEST],
            bytes: 0,
            messages: 0,
            sum: 0,
        }
    }

    /// Every writer of the stream has said its last, and nothing incomplete is left.
    pub fn complete(&self) -> bool {
        let all = 1u32
            .checked_shl(self.rules.writers)
            .unwrap_or(0)
            .wrapping_sub(1);
        let stopped = self.ended & 1 << STOPPER != 0;
        (stopped || self.ended == all) && self.have == 0
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            let have = self.have as usize;
            let known = self.partial.get(..have).unwrap_or_default();
            let want = match have {
                0..HEADER => HEADER,
                _ => Header::parse(known).map_or(HEADER, |h| h.length),
            };
            let take = want.saturating_sub(have).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            if let Some(room) = self.partial.get_mut(have..have + take) {
                room.copy_from_slice(now);
            }
            self.have += take as u32;
            let have = have + take;
            let got = self.partial.get(..have).unwrap_or_default();
            if have >= HEADER {
                match Header::parse(got) {
                    Some(h) if have >= h.length => self.message(h, rest)?,
                    Some(_) => {}
                    None => return Err(self.broken(rest)),
                }
            }
            bytes = rest;
        }
        Ok(())
    }

    /// A message is complete in `partial`; `rest` came behind it.
    fn message(&mut self, h: Header, rest: &[u8]) -> Result<(), Wrong> {
        let writer = usize::from(h.writer);
        if h.writer == STOPPER && self.shared != 0 {
            self.ended |= 1 << STOPPER;
            self.have = 0;
            return Ok(());
        }
        if writer >= self.rules.writers as usize || writer >= WRITERS {
            return Err(self.broken(rest));
        }
        let mut want = [0; LONGEST];
        let n = self.rules.compose(h.writer, h.seq, h.last, &mut want);
        if want.get(..n) != self.partial.get(..h.length) {
            return Err(self.broken(rest));
        }
        self.in_order(h)?;
        self.have = 0;
        self.bytes += n as u64;
        self.messages += 1;
        self.sum = self.sum.wrapping_add(digest(h.writer, h.seq));
        if let Some(next) = self.next.get_mut(writer) {
            *next = h.seq + 1;
        }
        if h.last {
            self.ended |= 1 << writer;
        }
        Ok(())
    }

    fn in_order(&self, h: Header) -> Result<(), Wrong> {
        let next = self.next.get(usize::from(h.writer)).copied().unwrap_or(0);
        let at = |text: String| format!("at byte {}: writer {}: {text}", self.bytes, h.writer);
        if h.seq < next {
            let kind = match self.shared {
                0 => Kind::Duplicated,
                _ => Kind::Reordered,
            };
            return Err(Wrong {
                kind,
                bytes: h.length as u64,
                text: at(format!(
                    "message {} came behind {}",
                    h.seq,
                    next.wrapping_sub(1)
                )),
            });
        }
        if h.seq > next && self.shared == 0 {
            let lengths =
                (next..h.seq.min(next + 1000)).map(|s| self.rules.length(h.writer, s) as u64);
            return Err(Wrong {
                kind: Kind::Lost,
                bytes: lengths.sum(),
                text: at(format!("message {} came, {next} is missing", h.seq)),
            });
        }
        Ok(())
    }

    /// The bytes in `partial` are not what any writer wrote; says how they differ from the nearest that could have come.
    fn broken(&self, rest: &[u8]) -> Wrong {
        let mut got = self
            .partial
            .get(..self.have as usize)
            .unwrap_or_default()
            .to_vec();
        got.extend_from_slice(rest);
        let best = (0..self.rules.writers.min(WRITERS as u32) as u16)
            .map(|w| (w, self.expected(w)))
            .max_by_key(|(_, want)| common(want, &got));
        let Some((writer, want)) = best else {
            return Wrong {
                kind: Kind::Changed,
                bytes: 0,
                text: "a stream without writers".to_string(),
            };
        };
        let same = common(&want, &got);
        let (kind, bytes) = difference(
            want.get(same..).unwrap_or_default(),
            got.get(same..).unwrap_or_default(),
            got.get(..same).unwrap_or_default(),
        );
        let show = |b: &[u8]| {
            format!(
                "{:02x?}",
                b.get(same..)
                    .unwrap_or_default()
                    .iter()
                    .take(24)
                    .collect::<Vec<_>>()
            )
        };
        Wrong {
            kind,
            bytes,
            text: format!(
                "at byte {}: {same} bytes of writer {writer}'s next message are right, then came {}, expected {}",
                self.bytes,
                show(&got),
                show(&want)
            ),
        }
    }

    /// The next messages of one writer.
    fn expected(&self, writer: u16) -> Vec<u8> {
        let mut all = Vec::new();
        let mut out = [0; LONGEST];
        let mut seq = self.next.get(usize::from(writer)).copied().unwrap_or(0);
        while all.len() < 2 * LONGEST {
            let n = self.rules.compose(writer, seq, false, &mut out);
            all.extend_from_slice(out.get(..n).unwrap_or_default());
            seq += 1;
        }
        all
    }
}

/// Length of the common beginning.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Bytes that must agree before one speaks of a shift.
const PROOF: usize = 12;

/// What makes `got` differ from `want`, which differ in the first byte; `before` came right before.
fn difference(want: &[u8], got: &[u8], before: &[u8]) -> (Kind, u64) {
    let agrees = |a: Option<&[u8]>, b: Option<&[u8]>| match (a, b) {
        (Some(a), Some(b)) => a.len().min(b.len()) >= PROOF && common(a, b) >= PROOF,
        _ => false,
    };
    let found = (1..=LONGEST).find_map(|n| {
        if agrees(want.get(n..), Some(got)) {
            // What was skipped may come later.
            let later = got
                .windows(PROOF.min(n))
                .any(|w| Some(w) == want.get(..PROOF.min(n)));
            let kind = if later && n >= PROOF {
                Kind::Reordered
            } else {
                Kind::Lost
            };
            return Some((kind, n as u64));
        }
        if agrees(Some(want), got.get(n..)) {
            let again = before.ends_with(got.get(..n).unwrap_or_default());
            let kind = if again {
                Kind::Duplicated
            } else {
                Kind::Changed
            };
            return Some((kind, n as u64));
        }
        None
    });
    found.unwrap_or((Kind::Changed, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        seed: 11,
        fixed: 0,
        writers: 2,
    };

    fn stream(messages: &[(u16, u64)]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut out = [0; LONGEST];
        for (w, s) in messages {
            let n = RULES.compose(*w, *s, false, &mut out);
            all.extend_from_slice(&out[..n]);
        }
        all
    }

    fn verdict(bytes: &[u8], step: usize) -> Option<(Kind, u64)> {
        let mut c = Checker::new(RULES, false);
        bytes
            .chunks(step)
            .find_map(|chunk| c.feed(chunk).err())
            .map(|w| (w.kind, w.bytes))
    }

    const GOOD: &[(u16, u64)] = &[
        (0, 0),
        (1, 0),
        (0, 1),
        (0, 2),
        (1, 1),
        (0, 3),
        (1, 2),
        (0, 4),
        (0, 5),
    ];

    #[test]
    fn good_streams_pass_however_they_are_cut() {
        let bytes = stream(GOOD);
        for step in [1, 7, 64, 4096, bytes.len()] {
            assert_eq!(verdict(&bytes, step), None, "step {step}");
        }
    }

    #[test]
    fn one_byte_less_or_more_is_found_anywhere() {
        let bytes = stream(GOOD);
        // What is missing at the very end is missed when the stream ends.
        let last = RULES.length(0, 5);
        for at in (0..bytes.len() - last).step_by(13) {
            let mut less = bytes.clone();
            less.remove(at);
            let (kind, _) = verdict(&less, 1 << 20).expect("a lost byte");
            assert!(
                matches!(kind, Kind::Lost | Kind::Changed),
                "lost at {at}: {kind:?}"
            );
            let mut more = bytes.clone();
            more.insert(at, bytes[at]);
            assert!(verdict(&more, 1 << 20).is_some(), "duplicated at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(verdict(&flipped, 97).is_some(), "changed at {at}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let bytes = stream(GOOD);
        let mut less = bytes.clone();
        less.remove(HEADER + 1);
        assert_eq!(verdict(&less, 1 << 20), Some((Kind::Lost, 1)));
        let mut more = bytes.clone();
        more.insert(HEADER + 1, bytes[HEADER]);
        assert_eq!(verdict(&more, 1 << 20), Some((Kind::Duplicated, 1)));
    }

    #[test]
    fn messages_missing_twice_or_torn_are_found() {
        let missing = RULES.length(0, 1) as u64;
        assert_eq!(
            verdict(&stream(&[(0, 0), (0, 2)]), 4096),
            Some((Kind::Lost, missing))
        );
        assert_eq!(
            verdict(&stream(&[(0, 0), (0, 1), (0, 1)]), 4096),
            Some((Kind::Duplicated, missing))
        );
        // One writer's message in the midst of the other's.
        let (a, b) = (stream(&[(0, 0)]), stream(&[(1, 0)]));
        let torn = [&a[..a.len() / 2], &b, &a[a.len() / 2..]].concat();
        assert!(verdict(&torn, 4096).is_some());
    }

    #[test]
    fn the_end_comes_when_all_have_ended() {
        let mut c = Checker::new(RULES, false);
        let mut out = [0; LONGEST];
        for w in [0, 1] {
            assert!(!c.complete());
            let n = RULES.compose(w, 0, true, &mut out);
            c.feed(&out[..n]).unwrap();
        }
        assert!(c.complete());
    }
}
