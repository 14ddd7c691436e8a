//! Figures as SVG: bars and lines, drawn for a width of so many units, coloured by the page's style.

use maud::{html, Markup};

/// One bar of a chart, made of parts: class and value of each, and what it says when pointed at.
pub struct Bar {
    pub label: String,
    pub parts: Vec<Part>,
    /// Written behind the bar.
    pub note: String,
}

pub struct Part {
    pub class: &'static str,
    pub value: f64,
    pub tip: String,
}

/// Bars under a heading.
pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// How horizontal bars are laid out.
pub struct Bars {
    pub width: f64,
    /// Room for labels left of the bars, and for notes right of them.
    pub left: f64,
    pub right: f64,
    /// What the longest possible bar stands for, so that charts can share a scale.
    pub most: f64,
    /// Height of a bar, in units.
    pub bar: f64,
    /// Labels are names of code.
    pub mono: bool,
}

impl Bars {
    pub fn draw(&self, about: &str, groups: &[Group]) -> Markup {
        let step = self.bar + 6.0;
        let head = |group: &Group| if group.title.is_empty() { 0.0 } else { 24.0 };
        let tall = |group: &Group| head(group) + group.bars.len() as f64 * step;
        let height = groups.iter().map(|group| tall(group) + 6.0).sum::<f64>();
        let mut top = 0.0;
        html! {
            svg viewBox=(format!("0 0 {} {height}", self.width)) role="img" aria-label=(about) {
                @for group in groups {
                    @let begin = top;
                    @let () = top += tall(group) + 6.0;
                    @if !group.title.is_empty() {
                        text.head x="0" y=(begin + 16.0) { (group.title) }
                    }
                    @for (n, bar) in group.bars.iter().enumerate() {
                        (self.bar(bar, begin + head(group) + n as f64 * step))
                    }
                }
            }
        }
    }

    fn bar(&self, bar: &Bar, top: f64) -> Markup {
        let scale = (self.width - self.left - self.right) / self.most;
        let middle = top + self.bar / 2.0 + 4.0;
        let mut at = self.left;
        let class = if self.mono { "mono" } else { "" };
        html! {
            text class=(class) x=(self.left - 6.0) y=(middle) text-anchor="end" { (bar.label) }
            @for part in &bar.parts {
                @let begin = at;
                @let long = part.value * scale;
                @let () = at += long;
                rect class=(part.class) x=(round(begin)) y=(round(top)) width=(round(long)) height=(self.bar) {
                    title { (part.tip) }
                }
            }
            text.soft x=(round(at + 5.0)) y=(middle) { (bar.note) }
        }
    }
}

/// A line through points, both axes logarithmic.
pub struct Curve {
    pub class: &'static str,
    pub dots: &'static str,
    /// x, y, and what the point says when pointed at.
    pub points: Vec<(f64, f64, String)>,
}

/// Ticks of an axis: value and label.
pub type Ticks = Vec<(f64, String)>;

/// Curves over two logarithmic axes.
pub fn curves(about: &str, title: &str, x: &Ticks, y: &Ticks, curves: &[Curve]) -> Markup {
    let (width, height) = (460.0, 320.0);
    let (left, right, top, bottom) = (62.0, 24.0, 30.0, 34.0);
    let along = |ticks: &Ticks, value: f64| {
        let (first, last) = (ticks[0].0, ticks[ticks.len() - 1].0);
        (value / first).ln() / (last / first).ln()
    };
    let across = |value| round(left + along(x, value) * (width - left - right));
    let up = |value| round(height - bottom - along(y, value) * (height - top - bottom));
    html! {
        svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(about) {
            text.head x="0" y="14" { (title) }
            @for (value, label) in y {
                line.grid x1=(left) x2=(width - right) y1=(up(*value)) y2=(up(*value)) {}
                text.soft x=(left - 6.0) y=(up(*value) + 4.0) text-anchor="end" { (label) }
            }
            @for (value, label) in x {
                line.grid x1=(across(*value)) x2=(across(*value)) y1=(top) y2=(height - bottom) {}
                text.soft x=(across(*value)) y=(height - bottom + 16.0) text-anchor="middle" { (label) }
            }
            @for curve in curves {
                @let points: Vec<String> = curve.points.iter().map(|(x, y, _)| format!("{},{}", across(*x), up(*y))).collect();
                polyline class=(curve.class) points=(points.join(" ")) {}
                @for (x, y, tip) in &curve.points {
                    circle class=(curve.dots) cx=(across(*x)) cy=(up(*y)) r="3.5" { title { (tip) } }
                }
            }
        }
    }
}

/// A tenth of a unit is finer than anybody sees.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            // A narrow space, at which lines do not break.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(
            [0, 999, 1000, 1234567].map(number),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }

    #[test]
    fn bars_share_the_scale() {
        let bars = Bars {
            width: 100.0,
            left: 20.0,
            right: 30.0,
            most: 200.0,
            bar: 10.0,
            mono: false,
        };
        let part = |value| Part {
            class: "copy",
            value,
            tip: "t".to_owned(),
        };
        let bar = Bar {
            label: "a <b>".to_owned(),
            parts: vec![part(100.0), part(50.0)],
            note: "150".to_owned(),
        };
        let group = Group {
            title: String::new(),
            bars: vec![bar],
        };
        let svg = bars.draw("about", &[group]).into_string();
        assert!(svg.contains("x=\"20\" y=\"0\" width=\"25\""), "{svg}");
        assert!(svg.contains("x=\"45\" y=\"0\" width=\"12.5\""), "{svg}");
        assert!(svg.contains("a &lt;b&gt;"), "{svg}");
    }

    #[test]
    fn curves_span_their_ticks() {
        let ticks = vec![(1.0, "1".to_owned()), (100.0, "100".to_owned())];
        let curve = Curve {
            class: "c",
            dots: "d",
            points: vec![(1.0, 1.0, "p".to_owned()), (10.0, 100.0, "q".to_owned())],
        };
        let svg = curves("about", "title", &ticks, &ticks, &[curve]).into_string();
        assert!(svg.contains("points=\"62,286 249,30\""), "{svg}");
    }
}
