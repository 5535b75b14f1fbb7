//! Showing what a build tells: a block of lines that moves, plain lines or JSON, always on
//! standard error.

mod bars;
mod block;
mod json;
mod plain;
mod tally;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::arguments::{Global, ProgressKind};
use super::interrupt::{self, Urgency};
use super::output;
use crate::realise::event::{Event, Fault, Finished, Phase};

/// A display that runs beside a build until it is dropped.
pub struct Progress {
    events: Option<SyncSender<Told>>,
    display: Option<JoinHandle<()>>,
    every_line: bool,
    /// Says of an interrupt what is happening; without a display whoever hears it does.
    _shows: Option<interrupt::Shows>,
}

/// What a display is told.
enum Told {
    /// Something of the build.
    Event(Event),
    /// A sentence beside it.
    Note(String),
}

/// The display that runs now, if one does that shows anything.
static DISPLAY: Mutex<Option<SyncSender<Told>>> = Mutex::new(None);

/// Shows a sentence above what moves, and says whether there was a display to do so.
pub fn note(text: &str) -> bool {
    let shown = DISPLAY.lock().unwrap_or_else(PoisonError::into_inner).clone();
    shown.is_some_and(|display| display.send(Told::Note(text.to_owned())).is_ok())
}

/// How many events may wait for the display.
const BACKLOG: usize = 1024;

/// How often the display looks up without having been told anything.
const TICK: Duration = Duration::from_millis(100);

/// What is said of the first interrupt.
const STOPPING: &str =
    "stopping: running builds are ended, what is finished is kept; again to stop now";

/// What is said of the second.
const STOPPED_NOW: &str = "stopped: what is finished is kept";

impl Progress {
    /// The display that the flags and the terminal call for.
    pub fn start(global: &Global) -> Self {
        let kind = kind(global);
        let (events, inbox) = mpsc::sync_channel(BACKLOG);
        let verbose = global.verbose;
        let every_line = verbose || kind == ProgressKind::Json;
        let colour = output::coloured(global.color);
        let shows = (kind != ProgressKind::None).then(interrupt::Shows::begin);
        let shown = (kind != ProgressKind::None).then(|| events.clone());
        *DISPLAY.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        let display = std::thread::spawn(move || match kind {
            ProgressKind::Bar => follow(&inbox, bars::Bars::new(colour, verbose)),
            ProgressKind::Auto | ProgressKind::Plain => follow(&inbox, plain::Plain::new(verbose)),
            ProgressKind::Json => follow(&inbox, json::Documents::default()),
            ProgressKind::None => inbox.iter().for_each(drop),
        });
        Self { events: Some(events), display: Some(display), every_line, _shows: shows }
    }

    /// Shows an event, now or soon.
    pub fn tell(&self, event: Event) {
        let Some(events) = &self.events else { return };
        // A display that is gone has nothing to show it on. One that is slow misses lines of a
        // build, unless all of them were asked for: it must not hold up the build.
        if matches!(event, Event::Line { .. }) && !self.every_line {
            let _ = events.try_send(Told::Event(event));
        } else {
            let _ = events.send(Told::Event(event));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(DISPLAY.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.events.take());
        if let Some(display) = self.display.take() {
            let _ = display.join();
        }
    }
}

/// A duration as people say it: `8.1s`, `1m 52s`, `2h 03m`.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        _ => clock(duration),
    }
}

/// A duration in whole seconds: what counts up on a screen must not flicker.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// What shows events.
trait Display {
    /// Takes an event.
    fn take(&mut self, event: Event, now: Instant);

    /// Shows a sentence beside the build.
    fn note(&mut self, text: &str, now: Instant);

    /// Shows what there is to show now.
    fn tick(&mut self, now: Instant);

    /// The build was told to stop.
    fn stopping(&mut self);

    /// The build is over, or must be left at once: nothing of the display may stay that moves.
    fn end(&mut self, urgency: Urgency, now: Instant);
}

/// Hands events to a display until there are no more.
fn follow(events: &Receiver<Told>, mut display: impl Display) {
    let mut stopping = false;
    let mut due = Instant::now();
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(wait);
        let now = Instant::now();
        let urgency = interrupt::urgency();
        if urgency != Urgency::None && !stopping {
            stopping = true;
            display.stopping();
        }
        if urgency == Urgency::Now {
            display.end(urgency, now);
            interrupt::leave();
        }
        match event {
            Ok(Told::Event(event)) => display.take(event, now),
            Ok(Told::Note(text)) => display.note(&text, now),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return display.end(urgency, now),
        }
        if now >= due {
            display.tick(now);
            due = now + TICK;
        }
    }
}

/// The way in which progress is shown: what moves needs a terminal that somebody looks at.
fn kind(global: &Global) -> ProgressKind {
    let is_set = |name: &str| {
        std::env::var_os(name)
            .is_some_and(|value| !["", "0", "false"].iter().any(|no| value == *no))
    };
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    match global.progress {
        _ if global.quiet => ProgressKind::None,
        ProgressKind::Auto | ProgressKind::Bar if !std::io::stderr().is_terminal() => {
            ProgressKind::Plain
        }
        ProgressKind::Auto if dumb || is_set("CI") => ProgressKind::Plain,
        ProgressKind::Auto => ProgressKind::Bar,
        kind => kind,
    }
}

/// Prints a line in one piece, so that what others print does not come between.
fn line(text: &str) {
    // Whoever closed standard error does not want it.
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// The kind of a phase, without how far it is.
fn phase_kind(phase: &Phase) -> &'static str {
    match phase {
        Phase::Solve => "solve",
        Phase::Fetch { .. } => "fetch",
        Phase::Wait => "wait",
        Phase::Root { step, .. } => step,
        Phase::Build => "build",
        Phase::Keep => "store",
    }
}

/// How a package ended, for people; nothing of one that was there.
fn end_text(result: &Finished, elapsed: Duration) -> Option<String> {
    match result {
        Finished::Built { .. } => Some(format!("built in {}", duration(elapsed))),
        Finished::Cached { .. } => None,
        Finished::Failed(failure) if failure.fault == Fault::Cancelled => {
            Some(format!("cancelled after {}", duration(elapsed)))
        }
        Finished::Failed(failure) => {
            // The rest of it is told at the end.
            let cause = text::clean(failure.line().lines().next().unwrap_or_default());
            Some(format!("FAILED after {}: {cause}", duration(elapsed)))
        }
        Finished::Skipped { because: Some(root) } => Some(format!("skipped: needs {root}")),
        Finished::Skipped { because: None } => Some("skipped".to_owned()),
    }
}

/// That a fault of the machine is met with another try.
fn retry_text(cause: &str, wait: Duration, failed: u32, most: u32) -> String {
    let cause = text::clean(cause.lines().next().unwrap_or_default());
    format!("{cause}; that may pass: try {} of {most} in {}", failed + 1, duration(wait))
}

/// How far reading many things has come, as one line of a terminal.
pub fn reading(global: &Global) -> ProgressBar {
    let wanted = !global.quiet
        && match global.progress {
            ProgressKind::Bar => true,
            ProgressKind::Auto => std::io::stderr().is_terminal(),
            ProgressKind::Plain | ProgressKind::Json | ProgressKind::None => false,
        };
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(" {bar:24} {pos}/{len} {msg} · {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("██░");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (seconds, text) in [(0.04, "0.0s"), (8.12, "8.1s"), (59.0, "59s"), (112.0, "1m 52s")] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
        assert_eq!(duration(Duration::from_secs(7380)), "2h 03m");
    }

    #[test]
    fn sentences_go_to_the_display_that_runs() {
        use clap::Parser as _;
        assert!(!note("nobody shows it"));
        for (kind, is_shown) in [("plain", true), ("json", true), ("none", false)] {
            let words = ["perestroika", "doctor", "--progress", kind];
            let arguments = super::super::arguments::Arguments::try_parse_from(words);
            let progress = Progress::start(&arguments.expect("flags").global);
            assert_eq!(note("engine `far` rests for 60s"), is_shown, "{kind}");
            drop(progress);
            assert!(!note("nobody shows it any more"), "{kind}");
        }
    }
}
