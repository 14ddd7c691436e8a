//! The page: one HTML file that needs nothing else, each figure with the table of its numbers.

mod calls;
mod chart;
mod programs;
mod sizes;
mod steps;

use maud::{html, Markup, PreEscaped, DOCTYPE};

use crate::data::{Call, Report};
use chart::number;

/// The whole page.
pub fn page(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "synthjit: where the instructions go" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main {
                h1 { "synthjit: where the instructions go" }
                (lead(report))
                nav {
                    a href="#calls" { "Calls" }
                    a href="#sizes" { "Sizes" }
                    a href="#steps" { "Steps" }
                    a href="#programs" { "Massalin's programs" }
                    a href="#how" { "How it was measured" }
                }
                (calls::section(&report.calls))
                (sizes::section(&report.sizes))
                (steps::section(&report.steps, &report.calls))
                (programs::section(&report.programs))
                (how(report))
            } }
        }
    }
}

fn lead(report: &Report) -> Markup {
    let of = |name: &str| report.calls.iter().find(|call| call.name == name);
    let (write, read) = (of("pipe_write_1"), of("pipe_read_1"));
    let say = |call: &Call| {
        html! {
            (number(call.stock.instructions)) " instructions on the stock kernel, "
            b { (number(call.attached.instructions)) } " specialized"
        }
    };
    html! {
        p.lead {
            @if let Some(call) = write { "Writing one byte to an empty pipe takes " (say(call)) ". " }
            @if let Some(call) = read { "Reading it takes " (say(call)) ". " }
        }
        p.soft {
            "Linux " (report.about.kernel) ", unmodified, in QEMU. Measured " (report.about.date)
            " at commit " code { (report.about.commit) } "."
        }
    }
}

fn how(report: &Report) -> Markup {
    let about = &report.about;
    let marked: usize = report
        .calls
        .iter()
        .map(|c| c.stock.alike.1 + c.attached.alike.1)
        .sum();
    let alike: usize = report
        .calls
        .iter()
        .map(|c| c.stock.alike.0 + c.attached.alike.0)
        .sum();
    html! {
        h2 #how { "How it was measured" }
        p {
            "Every number of this page, but those of the thesis, was measured in one run of " code { "make report" } ". QEMU's clock "
            "counts instructions (" code { "-icount shift=0" } "), so a time-stamp counter read before and after a call says how many it took, "
            "from the " code { "syscall" } " instruction to the first one behind it. A byte that " code { "rep movsb" } " copies counts as one. "
            "Instructions are not time: caches, branches and the work of one instruction are not in these figures."
        }
        p {
            "Functions are told apart by a QEMU plugin, which counts what is executed at each address between two marks around the call. "
            (marked) " calls were marked. For each, the sum of the plugin's counts is what the guest's own clock says; for each kind, the same calls "
            "took as many instructions in a boot without the plugin. The page would not exist otherwise. What is shown is the median call; "
            (alike) " of the " (marked) " took exactly as many instructions as the median of their kind."
        }
        dl {
            dt { "kernel" } dd { (about.kernel) }
            dt { "options" } dd { code { (about.options) } }
            dt { "CPU" } dd { (about.cpu) " (" code { "-cpu max" } "), one" }
            @for (name, text) in &about.mitigations {
                dt { (name.replace('_', " ")) } dd { (text) }
            }
            dt { "commit" } dd { code { (about.commit) } }
            dt { "measured" } dd { (about.date) }
        }
    }
}

/// A figure: what is drawn, and what is to be said about it.
fn figure(drawing: Markup, caption: Markup) -> Markup {
    html! { figure { (drawing) figcaption { (caption) } } }
}

/// Keys of colours: class and meaning.
fn keys(list: &[(&str, &str)]) -> Markup {
    html! { ul.keys { @for (class, text) in list { li { i class=(class) {} (text) } } } }
}

/// The keys of most figures.
fn two_keys() -> Markup {
    keys(&[("key-stock", "stock"), ("key-own", "attached")])
}
