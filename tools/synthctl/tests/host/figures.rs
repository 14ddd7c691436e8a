//! What `run` says that a hit saves is the least that README.md tells.

use synthctl::saved;

const README: &str = include_str!("../../../../README.md");

/// The numbers of a cell: one, or one for each of two calls.
fn numbers(cell: &str) -> Vec<u64> {
    cell.split('/')
        .filter_map(|n| n.trim().parse().ok())
        .collect()
}

/// Least difference of stock and specialized in the rows about this call.
fn least(call: &str) -> u64 {
    let mut found = Vec::new();
    for row in README.lines().filter(|line| line.starts_with("| pipe ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let calls: Vec<&str> = cells[1].split(" / ").collect();
        let (stock, own) = (numbers(cells[2]), numbers(cells[3]));
        // A row about both in one, or about a process without paths, tells nothing of one call.
        if cells[1].contains(", then") || cells[4].is_empty() {
            continue;
        }
        for (n, name) in calls.iter().enumerate() {
            if name.contains(call) {
                found.push(stock[n] - own[n]);
            }
        }
    }
    assert!(found.len() >= 4, "{call}: {found:?}");
    found.into_iter().min().expect("a row")
}

#[test]
fn savings_are_the_least_that_was_counted() {
    assert_eq!(saved::READ, least("read"));
    assert_eq!(saved::WRITE, least("write"));
}
