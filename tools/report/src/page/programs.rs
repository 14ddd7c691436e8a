//! The test programs of Massalin's thesis, there and here.

use maud::{html, Markup};

use super::chart::{number, Bar, Bars, Group, Part};
use super::{figure, keys};
use crate::data::Program;

pub fn section(programs: &[Program]) -> Markup {
    html! {
        h2 #programs { "The programs of Massalin's thesis" }
        p {
            "The seven programs of appendix A, and table 7.1, which compares SunOS 3.5 on a Sun 3/160 with Synthesis on a machine set to the same speed. "
            "There it was another kernel, all of it; here it is two calls of Linux, and what is not specialized is as it was."
        }
        (figure(html! {
            (keys(&[("key-stock", "thesis: time under SunOS / time under Synthesis"), ("key-own", "here: instructions stock / attached")]))
            div.wide { (chart(programs, 900.0)) }
            div.narrow { (chart(programs, 380.0)) }
        }, html! {
            "How many times less each program takes; 1 is no difference."
        }))
        div.table { table {
            thead { tr {
                th { "program" } th { "SunOS, s" } th { "Synthesis, s" } th { "ratio" }
                th { "stock, per round" } th { "attached" } th { "ratio" } th { "rounds" }
            } }
            tbody { @for program in programs {
                tr {
                    td { (program.number) " " (program.title) }
                    td { (program.sunos) } td { (program.synthesis) } td { (program.thesis_ratio) }
                    td { (number(program.stock / program.rounds)) } td { (number(program.attached / program.rounds)) }
                    td { (format!("{:.2}", program.ratio())) } td { (number(program.rounds)) }
                }
            } }
        } }
        p.soft {
            "Here a round is all instructions of the program and of the kernel, with those of its own loop and of the timer. In programs 2 to 4 a round is a "
            "write and a read, in program 5 it is ten of each and two seeks, in 6 and 7 an open and a close; program 1 makes its sequence once in a round. Making the "
            "paths is included. Source of the thesis' figures: A. Massalin, Synthesis: An Efficient Implementation of Fundamental Operating System Services, "
            "Columbia University, 1992, table 7.1 (usr+sys of the Sun, Synthesis emulator, ratio)."
        }
    }
}

fn chart(programs: &[Program], width: f64) -> Markup {
    let most = programs
        .iter()
        .map(|program| program.thesis_ratio.max(program.ratio()));
    let bars = Bars {
        width,
        left: 112.0,
        right: 40.0,
        most: most.fold(1.0, f64::max),
        bar: 12.0,
        mono: false,
    };
    let bar = |label: String, class, ratio: f64, note: String, tip: &str| Bar {
        label,
        parts: vec![Part {
            class,
            value: ratio,
            tip: tip.to_owned(),
        }],
        note,
    };
    let group = |program: &Program| Group {
        title: String::new(),
        bars: vec![
            bar(
                format!("{} {}", program.number, program.title),
                "fill-old",
                program.thesis_ratio,
                program.thesis_ratio.to_string(),
                &format!("{} s / {} s", program.sunos, program.synthesis),
            ),
            bar(
                String::new(),
                "fill-own",
                program.ratio(),
                format!("{:.2}", program.ratio()),
                &format!(
                    "{} / {} instructions",
                    number(program.stock),
                    number(program.attached)
                ),
            ),
        ],
    };
    bars.draw(
        "Ratios of the thesis and of synthjit",
        &programs.iter().map(group).collect::<Vec<_>>(),
    )
}
