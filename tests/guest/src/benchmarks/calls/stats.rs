//! Median and minimum of a figure's repetitions.

/// One figure in one mode, in instructions (ticks of the guest's clock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    pub median: u64,
    pub min: u64,
}

impl Figure {
    /// Of no samples at all it is zero; of an even number the lower of the two in the middle, so that it is always a value that
    /// was measured.
    pub fn of(samples: &mut [u64]) -> Figure {
        samples.sort_unstable();
        let median = samples
            .get(samples.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(0);
        Figure {
            median,
            min: samples.first().copied().unwrap_or(0),
        }
    }

    /// A thing that can be measured only once.
    pub fn once(value: u64) -> Figure {
        Figure {
            median: value,
            min: value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_min() {
        assert_eq!(Figure::of(&mut [9, 1, 5]), Figure { median: 5, min: 1 });
        assert_eq!(Figure::of(&mut [4, 3, 2, 1]), Figure { median: 2, min: 1 });
        assert_eq!(Figure::of(&mut []), Figure::default());
    }

    #[test]
    fn one_late_interrupt_does_not_move_the_median() {
        let mut s = vec![88; 100];
        s.push(90_000);
        assert_eq!(
            Figure::of(&mut s),
            Figure {
                median: 88,
                min: 88
            }
        );
    }
}
