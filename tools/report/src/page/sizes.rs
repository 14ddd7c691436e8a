//! Pipe writes and reads of all sizes.

use maud::{html, Markup};

use super::chart::{curves, number, Curve, Ticks};
use super::{figure, two_keys};
use crate::data::Size;

pub fn section(sizes: &[Size]) -> Markup {
    let most = sizes
        .iter()
        .map(|size| size.stock.max(size.attached))
        .max()
        .unwrap_or(1);
    html! {
        h2 #sizes { "From 1 B to 64 KiB" }
        p {
            "A path copies at most one page. A longer call bails out to the stock kernel, and what the path looked at until then is paid besides. "
            "Up to a page the difference is the same for all sizes; the bytes, each of which counts as one instruction, become the larger part."
        }
        (figure(html! {
            (two_keys())
            div.pair {
                @for call in ["write", "read"] {
                    div { (chart(call, sizes, most)) }
                }
            }
        }, html! {
            "Instructions of one call into an empty pipe, and of one that empties it. Both axes are logarithmic."
        }))
        div.table { table {
            thead { tr {
                th { "bytes" }
                @for call in ["write", "read"] { th { (call) ", stock" } th { "attached" } th { "ratio" } }
            } }
            tbody {
                @for write in sizes.iter().filter(|size| size.call == "write") {
                    tr {
                        td { (number(write.bytes)) }
                        @for size in sizes.iter().filter(|size| size.bytes == write.bytes).rev() {
                            td { (number(size.stock)) } td { (number(size.attached)) }
                            td { (format!("{:.2}", size.stock as f64 / size.attached as f64)) }
                        }
                    }
                }
            }
        } }
    }
}

fn chart(call: &str, sizes: &[Size], most: u64) -> Markup {
    let of_call = || sizes.iter().filter(|size| size.call == call);
    let curve = |name: &str, class, dots, value: fn(&Size) -> u64| Curve {
        class,
        dots,
        points: of_call()
            .map(|size| {
                let tip = format!(
                    "{name}, {} B: {} instructions",
                    number(size.bytes),
                    number(value(size))
                );
                (size.bytes as f64, value(size) as f64, tip)
            })
            .collect(),
    };
    let bytes: Ticks = [1u64, 16, 256, 4096, 65_536]
        .map(|n| (n as f64, bytes(n)))
        .into();
    let tens = std::iter::successors(Some(10u64), |n| Some(n * 10));
    // No call takes less than ten instructions, and the last power of ten is above all.
    let instructions: Ticks = tens
        .take_while(|n| *n < most * 10)
        .map(|n| (n as f64, number(n)))
        .collect();
    curves(
        &format!("Instructions of a pipe {call} by its bytes"),
        &format!("pipe {call}: instructions by bytes"),
        &bytes,
        &instructions,
        &[
            curve("stock", "line-stock", "fill-stock", |size| size.stock),
            curve("attached", "line-own", "fill-own", |size| size.attached),
        ],
    )
}

fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        _ => format!("{} KiB", n / 1024),
    }
}
