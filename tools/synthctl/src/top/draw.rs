//! The screen of `top`. Everything fits 80 columns.

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};
use ratatui::Frame;

use crate::status::State;
use crate::text::cut;

use super::model::Row;
use super::Screen;

const KEYS: &str = "up/down choose  enter open  space process on/off  o all on/off  q end";
const OPEN_KEYS: &str = "up/down, page up/down  q back";

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Min(1),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(screen)), head);
    match &screen.open {
        Some((text, first)) => {
            let lines: Vec<Line<'_>> = text
                .iter()
                .skip(*first)
                .map(|l| Line::raw(l.as_str()))
                .collect();
            frame.render_widget(Paragraph::new(lines), body);
        }
        None => table(frame, screen, body),
    }
    let keys = match screen.open {
        Some(_) => OPEN_KEYS,
        None => KEYS,
    };
    let message = Line::raw(cut(&screen.message, frame.area().width.into())).red();
    frame.render_widget(Paragraph::new(vec![message, Line::raw(keys).dim()]), foot);
}

fn summary(screen: &Screen) -> Vec<Line<'_>> {
    let status = &screen.now.status;
    let stat = |name: &str| status.stats.get(name).copied().unwrap_or(0);
    let platform = match &status.refused {
        None => "available".green(),
        Some(_) => "refused".red(),
    };
    let is_on = |on: bool| if on { "on".green() } else { "off".red() };
    vec![
        Line::from(vec![
            Span::raw(format!("synthjit on {}: ", status.kernel)).bold(),
            platform,
            Span::raw(", switched "),
            is_on(status.enabled),
        ]),
        Line::raw(format!(
            "{} attached, {} paths compiled, {} dropped, {:.0} bail-outs/s, {} bytes of code",
            stat("attached"),
            stat("synthesized"),
            stat("dropped"),
            screen.bailouts,
            stat("arena_bytes_used")
        )),
        Line::raw(cut(&reasons(screen), 80)),
        Line::raw(""),
    ]
}

fn reasons(screen: &Screen) -> String {
    let reason = |(name, rate): &(String, f64)| format!("{name} {rate:.0}/s");
    let all: Vec<String> = screen.reasons.iter().map(reason).collect();
    match all[..] {
        [] => "bail-outs by reason: none".to_owned(),
        _ => format!("bail-outs by reason: {}", all.join(", ")),
    }
}

fn table(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let widths = [7, 15, 5, 6, 18, 10, 6, 5].map(Constraint::Length);
    let header = [
        "PID", "COMMAND", "FD", "CALL", "OBJECT", "HITS/S", "RATE", "",
    ];
    let rows = screen.rows.iter().map(row);
    let table = Table::new(rows, widths)
        .header(TableRow::new(header).bold())
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(screen.chosen);
    frame.render_stateful_widget(table, area, &mut state);
}

fn row(row: &Row) -> TableRow<'_> {
    let (fd, call) = match &row.path {
        Some((fd, call)) => (fd.to_string(), call.as_str()),
        None => (String::new(), ""),
    };
    let what = match (&row.path, row.why.as_str()) {
        (None, "") => "no path yet".to_owned(),
        (None, why) => cut(why, 18),
        _ => cut(&row.object, 18),
    };
    let rate = row
        .rate
        .map_or(String::new(), |rate| format!("{:.1}%", rate * 100.0));
    let state = match row.state {
        State::Specialized => Cell::from("fast").green(),
        State::Pending => Cell::from("wait").yellow(),
        State::Stock => Cell::from("stock").red(),
    };
    TableRow::new([
        Cell::from(row.pid.to_string()),
        Cell::from(row.comm.as_str()),
        Cell::from(fd),
        Cell::from(call),
        Cell::from(what),
        Cell::from(format!("{:.0}", row.hits)),
        Cell::from(rate),
        state,
    ])
}
