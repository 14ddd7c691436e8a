//! `synthctl top`: what attached processes do now. [`model`] knows the numbers, [`draw`] the screen, this file the keys.

mod draw;
pub mod model;
mod open;

use std::io;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use crate::error::{Error, Kind};
use crate::module::Module;

pub use draw::draw;
use model::{rows, Row, Sample};

/// How often the numbers are read.
const EVERY: Duration = Duration::from_secs(1);

/// Lines that a page key moves: less than the least screen has.
const PAGE: usize = 15;

/// What the screen shows.
pub struct Screen {
    /// The latest numbers.
    pub now: Sample,
    /// One line each.
    pub rows: Vec<Row>,
    /// Bail-outs of the machine in a second.
    pub bailouts: f64,
    /// Why, and how many in a second.
    pub reasons: Vec<(String, f64)>,
    /// Which row is chosen.
    pub chosen: usize,
    /// A path that is looked at: its text, and the first line that is shown.
    pub open: Option<(Vec<String>, usize)>,
    /// What went wrong with the last key.
    pub message: String,
}

impl Screen {
    /// Nothing but a first look.
    pub fn new(now: Sample) -> Self {
        Self {
            rows: rows(&now, &now),
            now,
            bailouts: 0.0,
            reasons: Vec::new(),
            chosen: 0,
            open: None,
            message: String::new(),
        }
    }

    /// Takes newer numbers.
    pub fn renew(&mut self, now: Sample) {
        let before = std::mem::replace(&mut self.now, now);
        self.rows = rows(&before, &self.now);
        self.bailouts = model::bailouts(&before, &self.now);
        self.reasons = model::reasons(&before, &self.now);
        self.chosen = self.chosen.min(self.rows.len().saturating_sub(1));
    }

    /// Does what a key asks for. False: that is the end.
    pub fn key(&mut self, module: &Module<'_>, key: KeyCode) -> bool {
        self.message.clear();
        let done = match (key, &mut self.open) {
            (KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter, open @ Some(_)) => {
                *open = None;
                Ok(())
            }
            (KeyCode::Char('q') | KeyCode::Esc, None) => return false,
            (KeyCode::Down | KeyCode::Char('j'), Some((text, first))) => {
                *first = (*first + 1).min(text.len().saturating_sub(1));
                Ok(())
            }
            (KeyCode::PageDown | KeyCode::Char(' '), Some((text, first))) => {
                *first = (*first + PAGE).min(text.len().saturating_sub(1));
                Ok(())
            }
            (KeyCode::Up | KeyCode::Char('k'), Some((_, first))) => {
                *first = first.saturating_sub(1);
                Ok(())
            }
            (KeyCode::PageUp, Some((_, first))) => {
                *first = first.saturating_sub(PAGE);
                Ok(())
            }
            (_, Some(_)) => Ok(()),
            (KeyCode::Down | KeyCode::Char('j'), None) => {
                self.chosen = (self.chosen + 1).min(self.rows.len().saturating_sub(1));
                Ok(())
            }
            (KeyCode::Up | KeyCode::Char('k'), None) => {
                self.chosen = self.chosen.saturating_sub(1);
                Ok(())
            }
            (KeyCode::Char(' '), None) => self.toggle_process(module),
            (KeyCode::Char('o'), None) => {
                let on = !self.now.status.enabled;
                module.set("enabled", if on { "1" } else { "0" })
            }
            (KeyCode::Enter, None) => self.open(module),
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.message = error.to_string();
        }
        true
    }

    fn toggle_process(&self, module: &Module<'_>) -> Result<(), Error> {
        let Some(row) = self.rows.get(self.chosen) else {
            return Ok(());
        };
        let processes = &self.now.status.processes;
        let on = processes
            .iter()
            .any(|process| process.pid == row.pid && process.enabled);
        let file = format!("processes/{}/enabled", row.pid);
        module.set(&file, if on { "0" } else { "1" })
    }

    fn open(&mut self, module: &Module<'_>) -> Result<(), Error> {
        if let Some(row) = self.rows.get(self.chosen) {
            self.open = Some((open::text(module, row)?, 0));
        }
        Ok(())
    }
}

/// Shows the table until somebody ends it.
///
/// # Errors
///
/// If this is no terminal.
pub fn run(module: &Module<'_>) -> Result<u8, Error> {
    let other = |error: io::Error| {
        Error::new(
            Kind::Other,
            format!("cannot use the terminal: {error}"),
            "top needs a terminal; synthctl status --json is for programs",
        )
    };
    let mut terminal = ratatui::try_init().map_err(other)?;
    let done = show(module, &mut terminal);
    ratatui::restore();
    done.map_err(other)?;
    Ok(0)
}

fn show(module: &Module<'_>, terminal: &mut DefaultTerminal) -> io::Result<()> {
    let mut screen = Screen::new(Sample::read(module));
    loop {
        let next = Instant::now() + EVERY;
        loop {
            terminal.draw(|frame| draw(frame, &screen))?;
            if !event::poll(next.saturating_duration_since(Instant::now()))? {
                break;
            }
            if let Event::Key(key) = event::read()? {
                if is_interrupt(&key) {
                    return Ok(());
                }
                if key.kind == KeyEventKind::Press && !screen.key(module, key.code) {
                    return Ok(());
                }
            }
        }
        screen.renew(Sample::read(module));
    }
}

/// The terminal sends no signal while it is read key by key.
fn is_interrupt(key: &KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}
