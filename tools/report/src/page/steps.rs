//! What each step of specialization buys.

use maud::{html, Markup};

use super::chart::{number, Bar, Bars, Group, Part};
use super::{figure, keys};
use crate::data::{Call, Layer, Step};

/// The calls that are taken apart by layer.
const CALLS: [&str; 2] = ["pipe_write_1", "pipe_read_1"];

pub fn section(steps: &[Step], calls: &[Call]) -> Markup {
    html! {
        h2 #steps { "What each step buys" }
        p {
            "The same call of one byte: with the vector alone; with the kernel's hardening off, which a path does without in any case, since it has no "
            "return, no indirect branch and, where nothing unusual happens, no call; and with the path."
        }
        (figure(html! {
            div.wide { (chart(steps, 900.0, 150.0)) }
            div.narrow { (chart(steps, 380.0, 128.0)) }
        }, html! {
            "Instructions of a pipe write and of a pipe read of 1 B. The rows differ in the module, the kernel's options or the CPU: the table says in what."
        }))
        div.table { table {
            thead { tr { th { "step" } th { "write" } th { "read" } th.left { "what it is" } } }
            tbody { @for step in steps {
                tr { td { (step.title) } td { (number(step.write)) } td { (number(step.read)) } td.text { (step.note) } }
            } }
        } }
        h3 { "What collapsing each layer buys" }
        (figure(html! {
            (keys(&[("key-own", "left in the path"), ("key-stock", "saved")]))
            div.pair {
                @for call in calls.iter().filter(|call| CALLS.contains(&call.name.as_str())) {
                    div { (by_layer(call)) }
                }
            }
        }, html! {
            "Instructions by layer, stock → path. The guards are what the path pays for having left the rest out. Hardening is more than these functions: "
            "what of it the compiler inlined counts as entry and exit here, which the rows above without hardening include."
        }))
        p.soft {
            "Not taken apart: collapsing the layers and baking in what is known. A path is emitted with both; there is no engine that does one without the other."
        }
    }
}

/// What of each layer is left, and what is saved.
fn by_layer(call: &Call) -> Markup {
    let both = |layer| (call.stock.layer(layer), call.attached.layer(layer));
    let shown = || {
        Layer::ALL
            .into_iter()
            .map(|layer| (layer, both(layer)))
            .filter(|(_, both)| *both != (0, 0))
    };
    let bars = Bars {
        width: 460.0,
        left: 150.0,
        right: 70.0,
        most: shown()
            .map(|(_, (stock, path))| stock.max(path))
            .max()
            .unwrap_or(1) as f64,
        bar: 15.0,
        mono: false,
    };
    let part = |class, what, value: u64| Part {
        class,
        value: value as f64,
        tip: format!("{}: {what}", number(value)),
    };
    let bar = |(layer, (stock, path)): (Layer, (u64, u64))| Bar {
        label: layer.title().to_owned(),
        parts: vec![
            part("fill-own", "left in the path", path),
            part("fill-stock", "saved", stock.saturating_sub(path)),
        ],
        note: format!("{} → {}", number(stock), number(path)),
    };
    let group = Group {
        title: call.title.clone(),
        bars: shown().map(bar).collect(),
    };
    bars.draw(
        &format!("What the path saves of each layer: {}", call.title),
        &[group],
    )
}

fn chart(steps: &[Step], width: f64, left: f64) -> Markup {
    let bars = Bars {
        width,
        left,
        right: 46.0,
        most: steps
            .iter()
            .map(|step| step.write.max(step.read))
            .max()
            .unwrap_or(1) as f64,
        bar: 15.0,
        mono: false,
    };
    let group = |title: &str, value: fn(&Step) -> u64| Group {
        title: title.to_owned(),
        bars: steps
            .iter()
            .map(|step| Bar {
                label: step.title.clone(),
                parts: vec![Part {
                    class: if step.title.starts_with("path") {
                        "fill-own"
                    } else {
                        "fill-stock"
                    },
                    value: value(step) as f64,
                    tip: step.note.clone(),
                }],
                note: number(value(step)),
            })
            .collect(),
    };
    let groups = [
        group("Pipe write, 1 B", |step| step.write),
        group("Pipe read, 1 B", |step| step.read),
    ];
    bars.draw("Instructions after each step", &groups)
}
