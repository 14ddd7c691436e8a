//! What the benchmark prints: lines for machines, a table for people, a verdict per bar.

use super::figures::{Kind, KINDS};
use super::stats::Figure;
use std::fmt::Write;

/// State of the machine in which a figure was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The module is not loaded.
    Stock,
    /// Loaded, nobody attached.
    Loaded,
    /// The measuring process is attached.
    Attached,
    /// Another process is attached.
    Bystander,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Stock => "stock",
            Mode::Loaded => "loaded",
            Mode::Attached => "attached",
            Mode::Bystander => "bystander",
        }
    }
}

/// All that was measured.
#[derive(Default)]
pub struct Results {
    lines: Vec<(String, Mode, Figure)>,
}

/// One judged promise.
#[derive(Debug, PartialEq, Eq)]
pub struct Bar {
    pub figure: String,
    pub value: u64,
    pub bar: u64,
}

impl Bar {
    pub fn met(&self) -> bool {
        self.value <= self.bar
    }
}

impl Results {
    pub fn add(&mut self, figure: &str, mode: Mode, value: Figure) {
        self.lines.push((figure.to_string(), mode, value));
    }

    pub fn get(&self, figure: &str, mode: Mode) -> Option<Figure> {
        self.lines
            .iter()
            .find(|(f, m, _)| f == figure && *m == mode)
            .map(|(_, _, v)| *v)
    }

    /// `BENCH figure mode median title...` and `BENCHMIN figure mode minimum`.
    pub fn machine(&self) -> String {
        let mut s = String::new();
        for (f, m, v) in &self.lines {
            let title = KINDS
                .iter()
                .find(|k| k.name() == *f)
                .map_or_else(|| f.replace('_', " "), |k| k.title());
            let _ = writeln!(s, "BENCH {f} {} {} {title}", m.name(), v.median);
            let _ = writeln!(s, "BENCHMIN {f} {} {}", m.name(), v.min);
        }
        s
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut s = format!(
            "{:<32} {:>8} {:>12} {:>8}\n",
            "call (instructions, median)", "stock", "specialized", "ratio"
        );
        for k in KINDS {
            let name = k.name();
            let (Some(stock), Some(own)) = (
                self.get(&name, Mode::Stock),
                self.get(&name, Mode::Attached),
            ) else {
                continue;
            };
            let ratio = stock.median as f64 / own.median.max(1) as f64;
            let _ = writeln!(
                s,
                "{:<32} {:>8} {:>12} {:>7.1}x",
                k.title(),
                stock.median,
                own.median,
                ratio
            );
        }
        for (f, m, v) in &self.lines {
            if !KINDS.iter().any(|k| k.name() == *f) && *m != Mode::Stock {
                let _ = writeln!(s, "{:<32} {:>8} {:>12}", f.replace('_', " "), "-", v.median);
            }
        }
        s
    }

    /// Every promise that can be judged with what was measured.
    pub fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for k in KINDS {
            let name = k.name();
            let Some(stock) = self.get(&name, Mode::Stock) else {
                continue;
            };
            if let (Some(own), Some(bar)) = (self.get(&name, Mode::Attached), k.bar(stock.median)) {
                bars.push(Bar {
                    figure: name.clone(),
                    value: own.median,
                    bar,
                });
            }
            for mode in [Mode::Loaded, Mode::Bystander] {
                if let Some(v) = self.get(&name, mode) {
                    bars.push(Bar {
                        figure: format!("{}_{name}", mode.name()),
                        value: v.median,
                        bar: stock.median,
                    });
                }
            }
        }
        for (figure, bar) in [
            ("synthesis_write", 20_000),
            ("synthesis_read", 20_000),
            ("code_bytes", 2048),
        ] {
            if let Some(v) = self.get(figure, Mode::Attached) {
                bars.push(Bar {
                    figure: figure.into(),
                    value: v.median,
                    bar,
                });
            }
        }
        bars
    }
}

/// Bars without which a run proves nothing: when one of them was not even measured, that is a failure.
pub fn expected_bars() -> usize {
    KINDS
        .iter()
        .map(|k: &Kind| 2 + usize::from(k.bar(0).is_some()))
        .sum::<usize>()
        + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(pair: u64) -> Results {
        let mut r = Results::default();
        for k in KINDS {
            for m in [Mode::Stock, Mode::Loaded, Mode::Bystander] {
                r.add(&k.name(), m, Figure::once(1000));
            }
            let own = if k == Kind::Pair { pair } else { 90 };
            r.add(&k.name(), Mode::Attached, Figure::once(own));
        }
        for f in ["synthesis_write", "synthesis_read", "code_bytes"] {
            r.add(f, Mode::Attached, Figure::once(1800));
        }
        r
    }

    #[test]
    fn all_bars_are_judged() {
        let bars = full(197).bars();
        assert_eq!(bars.len(), expected_bars());
        assert!(bars.iter().all(Bar::met));
    }

    #[test]
    fn one_instruction_too_many_is_missed() {
        let missed: Vec<Bar> = full(198).bars().into_iter().filter(|b| !b.met()).collect();
        assert_eq!(
            missed,
            [Bar {
                figure: "pipe_pair_1".into(),
                value: 198,
                bar: 197
            }]
        );
    }

    #[test]
    fn machine_lines() {
        let mut r = Results::default();
        r.add(
            "getppid",
            Mode::Bystander,
            Figure {
                median: 340,
                min: 339,
            },
        );
        assert_eq!(
            r.machine(),
            "BENCH getppid bystander 340 getppid\nBENCHMIN getppid bystander 339\n"
        );
    }
}
