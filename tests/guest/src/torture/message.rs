//! What streams carry: messages whose every byte follows from the seed, the writer and the number of the message.
//!
//! So a reader needs nothing but the bytes to say what is missing, what came twice, what came too early and what is wrong.

use crate::diff::rng::Rng;

/// Longest message: `PIPE_BUF`, up to which a write is atomic.
pub const LONGEST: usize = 4096;
/// Length of messages that several readers share, who must read whole ones.
pub const FIXED: usize = 256;
/// Bytes before the payload.
pub const HEADER: usize = 16;
/// Most writers of one pipe.
pub const WRITERS: usize = 4;
/// Number of the writer of messages that tell readers to stop, where several readers share a pipe.
pub const STOPPER: u16 = 9;

const MAGIC: u32 = 0x4e4f_5254;
/// Marks a writer's last message, in the length.
const LAST: u16 = 0x8000;

/// What all messages of a stream have in common.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rules {
    pub seed: u64,
    /// Not zero: all messages have [`FIXED`] bytes.
    pub fixed: u32,
    pub writers: u32,
}

impl Rules {
    /// Length in bytes of a message that is not a writer's last one.
    pub fn length(&self, writer: u16, seq: u64) -> usize {
        if self.fixed != 0 {
            return FIXED;
        }
        let mut r = Rng::new(self.seed ^ 0x6c65_6e67, seq << 8 | u64::from(writer));
        match r.below(8) {
            0..=3 => 17 + r.below(72),
            4 | 5 => 64 + r.below(512),
            6 => HEADER + 1 + r.below(LONGEST - HEADER),
            _ => LONGEST,
        }
    }

    /// Writes a message to the beginning of `out` (at least [`LONGEST`] bytes); returns its length.
    pub fn compose(&self, writer: u16, seq: u64, last: bool, out: &mut [u8]) -> usize {
        let n = match last {
            true if self.fixed == 0 => HEADER,
            _ => self.length(writer, seq),
        };
        let mark = n as u16 | if last { LAST } else { 0 };
        let Some((head, body)) = out
            .get_mut(..n)
            .and_then(|m| m.split_first_chunk_mut::<HEADER>())
        else {
            return 0;
        };
        head[..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[4..6].copy_from_slice(&writer.to_le_bytes());
        head[6..8].copy_from_slice(&mark.to_le_bytes());
        head[8..].copy_from_slice(&seq.to_le_bytes());
        let mut r = Rng::new(self.seed, seq << 8 | u64::from(writer));
        for chunk in body.chunks_mut(8) {
            let word = r.next().to_le_bytes();
            chunk.copy_from_slice(word.get(..chunk.len()).unwrap_or(&word));
        }
        n
    }
}

/// Composes the message that tells one of several readers to stop; its length.
pub fn stopper(out: &mut [u8]) -> usize {
    let rules = Rules {
        seed: 0,
        fixed: 1,
        writers: 1,
    };
    rules.compose(STOPPER, 0, true, out)
}

/// What can be read off a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub writer: u16,
    pub length: usize,
    pub last: bool,
    pub seq: u64,
}

impl Header {
    /// `None` if these bytes begin no message.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let head: &[u8; HEADER] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        if head[..4] != MAGIC.to_le_bytes() {
            return None;
        }
        let length = usize::from(word(6) & !LAST);
        let seq = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        (HEADER..=LONGEST).contains(&length).then_some(Header {
            writer: word(4),
            length,
            last: word(6) & LAST != 0,
            seq,
        })
    }
}

/// An order-free digest of one message's number: sums of these tell whether several readers together got each one once.
pub fn digest(writer: u16, seq: u64) -> u64 {
    Rng::new(u64::from(writer), seq).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        seed: 5,
        fixed: 0,
        writers: 3,
    };

    #[test]
    fn a_header_says_what_was_composed() {
        let mut out = [0; LONGEST];
        for seq in 0..300 {
            let n = RULES.compose(2, seq, false, &mut out);
            let want = Header {
                writer: 2,
                length: n,
                last: false,
                seq,
            };
            assert_eq!(Header::parse(&out), Some(want));
            assert!((HEADER..=LONGEST).contains(&n));
        }
        assert_eq!(RULES.compose(1, 7, true, &mut out), HEADER);
        assert!(Header::parse(&out).is_some_and(|h| h.last && h.seq == 7));
        assert_eq!(Header::parse(&out[1..]), None);
    }

    #[test]
    fn lengths_reach_the_longest() {
        assert!((0..100).any(|s| RULES.length(0, s) == LONGEST));
        assert!((0..100).any(|s| RULES.length(0, s) < 64));
    }

    #[test]
    fn messages_differ() {
        let (mut a, mut b) = ([0; LONGEST], [0; LONGEST]);
        let fixed = Rules { fixed: 1, ..RULES };
        fixed.compose(0, 1, false, &mut a);
        fixed.compose(0, 2, false, &mut b);
        assert_ne!(a[HEADER..FIXED], b[HEADER..FIXED]);
        assert_ne!(digest(0, 1), digest(1, 0));
    }
}
