//! Makes a failing sequence small: whole stretches away, then single calls simpler, until nothing more can go.

use super::op::Op;

/// Most executions that shrinking may cost.
const BUDGET: usize = 400;

/// The smallest sequence found for which `fails` still holds; `ops` itself must fail.
pub fn shrink(ops: &[Op], mut fails: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut best = ops.to_vec();
    let mut budget = BUDGET;
    loop {
        let before = best.clone();
        remove_stretches(&mut best, &mut budget, &mut fails);
        simplify(&mut best, &mut budget, &mut fails);
        if best == before || budget == 0 {
            return best;
        }
    }
}

fn remove_stretches(best: &mut Vec<Op>, budget: &mut usize, fails: &mut impl FnMut(&[Op]) -> bool) {
    let mut stretch = best.len() / 2;
    while stretch > 0 {
        let mut at = 0;
        while at < best.len() && *budget > 0 {
            let end = (at + stretch).min(best.len());
            let mut less = best.clone();
            less.drain(at..end);
            *budget -= 1;
            if !less.is_empty() && fails(&less) {
                *best = less;
            } else {
                at = end;
            }
        }
        stretch /= 2;
    }
}

fn simplify(best: &mut [Op], budget: &mut usize, fails: &mut impl FnMut(&[Op]) -> bool) {
    for i in 0..best.len() {
        let mut tries = best.get(i).map(|o| o.simpler()).unwrap_or_default();
        while let Some(next) = (!tries.is_empty()).then(|| tries.remove(0)) {
            if *budget == 0 {
                return;
            }
            let mut changed = best.to_vec();
            if let Some(o) = changed.get_mut(i) {
                *o = next;
            }
            *budget -= 1;
            if fails(&changed) {
                if let Some(o) = best.get_mut(i) {
                    *o = next;
                }
                tries = next.simpler();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{gen::sequence, op::Buf};
    use super::*;

    #[test]
    fn finds_the_two_calls_that_matter() {
        // Fails when a write of more than 100 bytes comes before a poll.
        let mut ops = Vec::new();
        for i in 0.. {
            ops.extend(sequence(5, i));
            if ops.iter().any(|o| matches!(o, Op::Poll { .. })) && ops.len() > 40 {
                break;
            }
        }
        ops.insert(
            0,
            Op::Write {
                fd: 11,
                buf: Buf::Raw(5),
                n: 3000,
            },
        );
        let bad = |s: &[Op]| {
            let w = s
                .iter()
                .position(|o| matches!(o, Op::Write { n, .. } if *n > 100));
            let p = s.iter().rposition(|o| matches!(o, Op::Poll { .. }));
            matches!((w, p), (Some(w), Some(p)) if w < p)
        };
        assert!(bad(&ops));
        let small = shrink(&ops, bad);
        assert_eq!(small.len(), 2, "{small:?}");
        assert!(
            matches!(
                small[0],
                Op::Write {
                    buf: Buf::At(0),
                    n: 101..=200,
                    ..
                }
            ),
            "{small:?}"
        );
        assert!(matches!(small[1], Op::Poll { .. }));
    }

    #[test]
    fn gives_up_in_time() {
        let ops = sequence(6, 0);
        let mut runs = 0;
        let same = shrink(&ops, |s| {
            runs += 1;
            s.len() == ops.len()
        });
        assert_eq!(same.len(), ops.len());
        assert!(runs <= BUDGET);
    }
}
