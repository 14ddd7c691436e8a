//! Table 7.1 of A. Massalin, "Synthesis: An Efficient Implementation of Fundamental Operating System Services", PhD thesis,
//! Columbia University, 1992: seven programs, in seconds, on SunOS 3.5 and on Synthesis. Their text is in its appendix A.

/// A row: the columns "usr+sys" of the Sun, "Synthesis Emulator" and "Ratio", as printed.
pub struct Row {
    pub title: &'static str,
    pub sunos: &'static str,
    pub synthesis: &'static str,
    pub ratio: f64,
}

const fn row(title: &'static str, sunos: &'static str, synthesis: &'static str, ratio: f64) -> Row {
    Row {
        title,
        sunos,
        synthesis,
        ratio,
    }
}

/// The programs 1 to 7.
pub const TABLE: [Row; 7] = [
    row("compute", "20.3", "21.42", 0.95),
    row("pipe, 1 B", "10.0", "0.18", 56.0),
    row("pipe, 1 KiB", "15.1", "2.42", 6.2),
    row("pipe, 4 KiB", "37.9", "9.64", 3.9),
    row("file, 1 KiB", "20.6", "2.91", 7.1),
    row("open /dev/null", "17.8", "0.69", 26.0),
    row("open /dev/tty", "42.6", "0.88", 48.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_seconds() {
        for row in &TABLE {
            let seconds = |text: &str| text.parse::<f64>().unwrap();
            let ratio = seconds(row.sunos) / seconds(row.synthesis);
            // Printed with two digits, from times that were rounded too.
            assert!(
                (ratio / row.ratio - 1.0).abs() < 0.02,
                "{} {ratio}",
                row.title
            );
        }
    }
}
