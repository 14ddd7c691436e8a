//! Rows over axes of so many values each: all of them, or few that cover every pair.
//!
//! A row has one index per axis. Both lists depend on the sizes alone, so they are the same in each run.

use std::collections::BTreeSet;

/// Every row, the last axis changing fastest. None if an axis is empty.
pub fn product(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new()];
    for size in sizes {
        rows = rows
            .iter()
            .flat_map(|row| {
                (0..*size).map(move |at| {
                    let mut longer = row.clone();
                    longer.push(at);
                    longer
                })
            })
            .collect();
    }
    rows
}

/// A value of one axis and a value of a later one.
type Pair = ((usize, usize), (usize, usize));

/// Rows in which each two values of two axes meet at least once. None if an axis is empty.
///
/// Greedy: each row begins with a pair that is missing and takes on each further axis the value that brings most missing pairs.
/// That is not the least number of rows, but near enough.
pub fn pairs(sizes: &[usize]) -> Vec<Vec<usize>> {
    if sizes.len() < 2 || sizes.contains(&0) {
        return product(sizes);
    }
    let mut missing: BTreeSet<Pair> = BTreeSet::new();
    for (a, values) in sizes.iter().enumerate() {
        for (b, others) in sizes.iter().enumerate().skip(a + 1) {
            for pair in product(&[*values, *others]) {
                missing.insert(((a, pair[0]), (b, pair[1])));
            }
        }
    }
    let mut rows = Vec::new();
    while let Some(&(first, second)) = missing.first() {
        let mut row: Vec<Option<usize>> = vec![None; sizes.len()];
        row[first.0] = Some(first.1);
        row[second.0] = Some(second.1);
        for axis in 0..sizes.len() {
            if row[axis].is_none() {
                row[axis] = best(&row, axis, sizes[axis], &missing);
            }
        }
        let row: Vec<usize> = row.into_iter().flatten().collect();
        missing.retain(|((a, x), (b, y))| row[*a] != *x || row[*b] != *y);
        rows.push(row);
    }
    rows
}

/// The value of `axis` that brings most of the missing pairs with what the row has.
fn best(
    row: &[Option<usize>],
    axis: usize,
    size: usize,
    missing: &BTreeSet<Pair>,
) -> Option<usize> {
    let gain = |value: &usize| {
        let here = (axis, *value);
        let others = row.iter().enumerate();
        let gained = others.filter(|(other, at)| {
            at.is_some_and(|at| {
                let there = (*other, at);
                missing.contains(&(here.min(there), here.max(there)))
            })
        });
        gained.count()
    };
    // Of equal ones the first.
    (0..size).rev().max_by_key(gain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products() {
        assert_eq!(product(&[2, 1, 2]).len(), 4);
        assert_eq!(product(&[1, 2]), [[0, 0], [0, 1]]);
        assert!(product(&[2, 0]).is_empty());
    }

    #[test]
    fn every_pair_is_covered_by_few_rows() {
        let sizes = [3, 4, 2, 2, 5];
        let rows = pairs(&sizes);
        for a in 0..sizes.len() {
            for b in a + 1..sizes.len() {
                for pair in product(&[sizes[a], sizes[b]]) {
                    assert!(
                        rows.iter()
                            .any(|row| row[a] == pair[0] && row[b] == pair[1]),
                        "axes {a} and {b}: {pair:?} never meet"
                    );
                }
            }
        }
        assert!(rows.len() >= 20 && rows.len() <= 26, "{} rows", rows.len());
        assert!(pairs(&[3, 0, 2]).is_empty());
        assert_eq!(pairs(&[3]).len(), 3);
    }
}
