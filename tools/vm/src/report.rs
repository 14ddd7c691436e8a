//! The picture of a benchmark: a pair of bars per call, stock and attached.

use std::path::Path;

use anyhow::{bail, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::Pair;

const WIDTH: u32 = 920;
/// Heights in pixels: of one bar, of a pair with the space below it, of what is above and below all pairs.
const BAR: i32 = 15;
const PAIR: i32 = 44;
const HEAD: i32 = 74;
const FOOT: i32 = 16;
/// Where bars begin and how long the longest may be, in pixels.
const LEFT: i32 = 230;
const LONGEST: i32 = 540;

const STOCK: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const ATTACHED: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);

/// Draws the pairs as an SVG file. `release` is the kernel that was measured.
///
/// Bars begin at zero and have one scale, so lengths can be compared.
pub fn draw(path: &Path, pairs: &[Pair], release: &str) -> Result<()> {
    let Some(most) = pairs.iter().map(|pair| pair.stock.max(pair.attached)).max() else {
        bail!("the benchmark printed no figure in both modes");
    };
    let height = HEAD + PAIR * pairs.len() as i32 + FOOT;
    let area = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: u32, horizontal| {
        let font = ("sans-serif", size).into_font().color(&INK);
        font.pos(Pos::new(horizontal, VPos::Center))
    };
    area.draw_text("Instructions per call", &text(19, HPos::Left), (16, 22))?;
    area.draw_text(
        &format!("Linux {release}, entry and exit included"),
        &text(13, HPos::Left),
        (16, 46),
    )?;
    for (color, name, x) in [(STOCK, "stock", 560), (ATTACHED, "attached", 660)] {
        area.draw(&Rectangle::new([(x, 16), (x + 14, 30)], color.filled()))?;
        area.draw_text(name, &text(14, HPos::Left), (x + 20, 23))?;
    }
    for (n, pair) in pairs.iter().enumerate() {
        let top = HEAD + PAIR * n as i32;
        area.draw_text(&pair.title, &text(14, HPos::Right), (LEFT - 12, top + BAR))?;
        let ratio = pair.stock as f64 / pair.attached.max(1) as f64;
        let bars = [
            (pair.stock, STOCK, pair.stock.to_string(), top),
            (
                pair.attached,
                ATTACHED,
                format!("{} ({ratio:.1}×)", pair.attached),
                top + BAR,
            ),
        ];
        for (value, color, label, y) in bars {
            let end = LEFT + length(value, most);
            area.draw(&Rectangle::new(
                [(LEFT, y), (end, y + BAR - 1)],
                color.filled(),
            ))?;
            let label = if ratio < 1.0 {
                value.to_string()
            } else {
                label
            };
            area.draw_text(&label, &text(12, HPos::Left), (end + 6, y + BAR / 2))?;
        }
    }
    area.present()?;
    Ok(())
}

/// Pixels for a value, at least one so that every bar is seen.
fn length(value: u64, most: u64) -> i32 {
    (i64::from(LONGEST) * value as i64 / most.max(1) as i64).max(1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_one_scale() {
        assert_eq!(length(1000, 1000), LONGEST);
        assert_eq!(length(500, 1000), LONGEST / 2);
        assert_eq!(length(0, 1000), 1);
    }

    #[test]
    fn the_picture_names_every_call_and_figure() {
        let path = std::env::temp_dir().join(format!("vm-report-{}.svg", std::process::id()));
        let pairs = [Pair {
            title: "pipe write".to_owned(),
            stock: 1060,
            attached: 88,
        }];
        draw(&path, &pairs, "7.2").unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for text in ["pipe write", "1060", "88", "12.0×", "Linux 7.2"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        assert!(draw(&path, &[], "7.2").is_err());
    }
}
