//! Where the instructions of each call go.

use maud::{html, Markup};

use super::chart::{number, Bar, Bars, Group, Part};
use super::{figure, keys};
use crate::data::{Call, Function, Layer, Profile};

/// The calls that are shown function by function without being asked for.
const FIRST: [&str; 2] = ["pipe_write_1", "pipe_read_1"];
/// A call that takes more than this is mostly copy, beside which nothing else can be seen.
const MOST: u64 = 2000;

pub fn section(calls: &[Call]) -> Markup {
    let (first, rest): (Vec<_>, Vec<_>) = calls
        .iter()
        .partition(|call| FIRST.contains(&call.name.as_str()));
    html! {
        h2 #calls { "Where the instructions of a call go" }
        p {
            "Upper bar: the stock kernel. Lower bar: the same call from an attached process. The colours say what the instructions are for. "
            "What the compiler inlined counts as the function that it is in."
        }
        (figure(html! {
            (keys(&Layer::ALL.map(|layer| (class(layer), layer.title()))))
            div.wide { (overview(calls, 900.0)) }
            div.narrow { (overview(calls, 380.0)) }
        }, html! {
            "Left out here: calls of 4096 B, which are mostly copy. The last four have no path: the vector of an attached process finds none and goes "
            "to the stock entry."
        }))
        (layers(calls))
        @for call in first {
            h3 { (call.title) ", function by function" }
            (functions(call))
        }
        h3 { "The other calls, function by function" }
        @for call in rest {
            details {
                summary { (call.title) ": " (number(call.stock.instructions)) " → " (number(call.attached.instructions)) }
                (functions(call))
            }
        }
    }
}

/// The class of the style that colours a layer.
fn class(layer: Layer) -> &'static str {
    match layer {
        Layer::Entry => "entry",
        Layer::Hardening => "hardening",
        Layer::Dispatch => "dispatch",
        Layer::Guards => "guards",
        Layer::Files => "files",
        Layer::Security => "security",
        Layer::Pipe => "pipe",
        Layer::Lock => "lock",
        Layer::Copy => "copy",
        Layer::Wake => "wake",
        Layer::Other => "other",
    }
}

fn overview(calls: &[Call], width: f64) -> Markup {
    let shown = || calls.iter().filter(|call| call.stock.instructions <= MOST);
    let bars = Bars {
        width,
        left: 66.0,
        right: 46.0,
        most: shown()
            .map(|call| call.stock.instructions)
            .max()
            .unwrap_or(1) as f64,
        bar: 15.0,
        mono: false,
    };
    let bar = |label: &str, profile: &Profile| Bar {
        label: label.to_owned(),
        parts: stacked(profile),
        note: number(profile.instructions),
    };
    let group = |call: &Call| Group {
        title: call.title.clone(),
        bars: vec![bar("stock", &call.stock), bar("attached", &call.attached)],
    };
    bars.draw(
        "Instructions of each call by layer",
        &shown().map(group).collect::<Vec<_>>(),
    )
}

fn stacked(profile: &Profile) -> Vec<Part> {
    let parts = Layer::ALL.into_iter().filter_map(|layer| {
        let instructions = profile.layer(layer);
        (instructions > 0).then(|| Part {
            class: class(layer),
            value: instructions as f64,
            tip: format!("{}: {}", layer.title(), number(instructions)),
        })
    });
    parts.collect()
}

fn layers(calls: &[Call]) -> Markup {
    html! {
        details {
            summary { "The numbers of this figure, and of the calls of 4096 B" }
            div.table { table {
                thead { tr {
                    th { "call" } th.left { "kernel" }
                    @for layer in Layer::ALL { th { (layer.title()) } }
                    th { "all" } th { "ratio" }
                } }
                tbody { @for call in calls {
                    @for (kernel, profile) in [("stock", &call.stock), ("attached", &call.attached)] {
                        tr {
                            td { (call.title) } td.left { (kernel) }
                            @for layer in Layer::ALL { td { (number(profile.layer(layer))) } }
                            td { (number(profile.instructions)) }
                            td { @if kernel != "stock" { (format!("{:.2}", call.ratio())) } }
                        }
                    }
                } }
            } }
        }
    }
}

/// Both profiles at one scale, side by side where there is room.
fn functions(call: &Call) -> Markup {
    let all = || call.stock.functions.iter().chain(&call.attached.functions);
    let most = all().map(|f| f.instructions).max().unwrap_or(1);
    let sides = [("Stock", &call.stock), ("Attached", &call.attached)];
    figure(
        html! {
            div.pair {
                @for (title, profile) in sides {
                    (side(&format!("{title}: {} instructions", number(profile.instructions)), profile, most))
                }
            }
            details {
                summary { "Table" }
                div.pair { @for (title, profile) in sides { (table(title, profile)) } }
            }
        },
        html! {
            "In the order in which they first run, both at one scale. Generated code has no functions: its instructions are told apart by the op "
            "of the engine that wrote them, wherever in the path that op was used."
        },
    )
}

fn side(title: &str, profile: &Profile, most: u64) -> Markup {
    let bars = Bars {
        width: 384.0,
        left: 214.0,
        right: 36.0,
        most: most as f64,
        bar: 12.0,
        mono: true,
    };
    let bar = |function: &Function| Bar {
        label: function.name.clone(),
        parts: vec![Part {
            class: class(function.layer),
            value: function.instructions as f64,
            tip: format!(
                "{}: {} ({})",
                function.name,
                number(function.instructions),
                function.layer.title()
            ),
        }],
        note: number(function.instructions),
    };
    let group = Group {
        title: title.to_owned(),
        bars: profile.functions.iter().map(bar).collect(),
    };
    html! { div { (bars.draw(title, &[group])) } }
}

fn table(title: &str, profile: &Profile) -> Markup {
    html! {
        div.table { table {
            thead { tr { th { (title) } th.left { "for" } th { "instructions" } } }
            tbody {
                @for function in &profile.functions {
                    tr { td { code { (function.name) } } td.left { (function.layer.title()) } td { (number(function.instructions)) } }
                }
                tr { td { b { "all" } } td {} td { b { (number(profile.instructions)) } } }
            }
        } }
    }
}
