//! Showing what a build tells: bars, plain lines or JSON, always on standard error.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::arguments::{Global, ProgressKind};
use crate::base::PackageName;
use crate::realise::event::{Event, Fault, Finished, Phase};

/// A display that runs beside a build until it is dropped.
pub struct Progress {
    events: Option<SyncSender<Event>>,
    display: Option<JoinHandle<()>>,
    every_line: bool,
}

/// How many events may wait for the display.
const BACKLOG: usize = 1024;

impl Progress {
    /// The display that the flags and the terminal call for, for `jobs` packages at once.
    pub fn start(global: &Global, jobs: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let kind = match global.progress {
            _ if global.quiet => ProgressKind::None,
            ProgressKind::Auto if terminal => ProgressKind::Bar,
            ProgressKind::Auto => ProgressKind::Plain,
            kind => kind,
        };
        let (events, inbox) = mpsc::sync_channel(BACKLOG);
        let verbose = global.verbose;
        let every_line = verbose || kind == ProgressKind::Json;
        let display = std::thread::spawn(move || match kind {
            ProgressKind::Bar | ProgressKind::Auto => Bars::new(jobs, verbose).run(&inbox),
            ProgressKind::Plain => plain(&inbox, verbose),
            ProgressKind::Json => documents(&inbox),
            ProgressKind::None => inbox.iter().for_each(drop),
        });
        Self { events: Some(events), display: Some(display), every_line }
    }

    /// Shows an event, now or soon.
    pub fn tell(&self, event: Event) {
        let Some(events) = &self.events else { return };
        // A display that is gone has nothing to show it on. One that is slow misses lines of a
        // build, unless all of them were asked for: it must not hold up the build.
        if matches!(event, Event::Line { .. }) && !self.every_line {
            let _ = events.try_send(event);
        } else {
            let _ = events.send(event);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.events.take());
        if let Some(display) = self.display.take() {
            let _ = display.join();
        }
    }
}

/// A duration as people say it: `8.1s`, `1m 52s`, `2h 03m`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn line(text: &str) {
    // Whoever closed standard error does not want it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn phase_text(phase: &Phase) -> String {
    match phase {
        Phase::Solve => "solve".to_owned(),
        Phase::Fetch { done, total } => format!("fetch {done}/{total}"),
        Phase::Wait => "wait for another process".to_owned(),
        Phase::Root { step, done, total } if *total > 0 => {
            format!("build root: {step} {done}/{total}")
        }
        Phase::Root { step, .. } => format!("build root: {step}"),
        Phase::Build => "build".to_owned(),
        Phase::Keep => "store".to_owned(),
    }
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

fn end_text(result: &Finished, elapsed: Duration) -> Option<String> {
    match result {
        Finished::Built { .. } => Some(format!("built in {}", duration(elapsed))),
        Finished::Cached { .. } => None,
        Finished::Failed(failure) if failure.fault == Fault::Cancelled => {
            Some(format!("cancelled after {}", duration(elapsed)))
        }
        Finished::Failed(failure) => {
            // The rest of it is told at the end.
            let cause = failure.line();
            let cause = cause.lines().next().unwrap_or_default();
            Some(format!("FAILED after {}: {cause}", duration(elapsed)))
        }
        Finished::Skipped { because: Some(root) } => Some(format!("skipped: needs {root}")),
        Finished::Skipped { because: None } => Some("skipped".to_owned()),
    }
}

/// That a fault of the machine is met with another try.
fn retry_text(cause: &str, wait: Duration, failed: u32, most: u32) -> String {
    let cause = cause.lines().next().unwrap_or_default();
    format!("{cause}; that may pass: try {} of {most} in {}", failed + 1, duration(wait))
}

/// A line for every step: for logs and continuous integration.
fn plain(events: &Receiver<Event>, verbose: bool) {
    let mut phases: BTreeMap<PackageName, &'static str> = BTreeMap::new();
    for event in events {
        match event {
            Event::Planned { .. } => {}
            Event::Started { package, version } => line(&format!("{package} {version}: begins")),
            Event::Phase { package, phase } => {
                let kind = phase_kind(&phase);
                let quick = matches!(phase, Phase::Wait | Phase::Solve | Phase::Keep);
                if phases.insert(package.clone(), kind) != Some(kind) && !quick {
                    let text = match &phase {
                        Phase::Fetch { total, .. } => format!("fetch {total} files"),
                        Phase::Root { step, total, .. } if *total > 0 => {
                            format!("build root: {step} {total} packages")
                        }
                        other => phase_text(other),
                    };
                    line(&format!("{package}: {text}"));
                }
            }
            Event::Line { package, text } if verbose => line(&format!("{package}| {text}")),
            Event::Line { .. } => {}
            Event::Retry { package, cause, wait, failed, most } => {
                phases.remove(&package);
                line(&format!("{package}: {}", retry_text(&cause, wait, failed, most)));
            }
            Event::Finished { package, version, result, elapsed } => {
                if let Some(end) = end_text(&result, elapsed) {
                    line(&format!("{package} {version}: {end}"));
                }
            }
        }
    }
}

/// One line for the whole and one for each package being worked on, in fixed places.
struct Bars {
    screen: MultiProgress,
    overall: ProgressBar,
    slots: Vec<ProgressBar>,
    running: Vec<Option<Running>>,
    total: usize,
    done: usize,
    failed: usize,
    cached: usize,
    began: Instant,
    verbose: bool,
}

struct Running {
    package: PackageName,
    version: String,
    phase: String,
    last: String,
    began: Instant,
}

const REDRAW: Duration = Duration::from_millis(100);

impl Bars {
    fn new(jobs: usize, verbose: bool) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let text = || ProgressStyle::with_template("{wide_msg}").expect("a fixed template");
        let slots: Vec<_> = (0..jobs.min(20))
            .map(|_| screen.add(ProgressBar::no_length().with_style(text())))
            .collect();
        let bar = ProgressStyle::with_template(" {bar:24} {wide_msg}")
            .expect("a fixed template")
            .progress_chars("█▌░");
        let overall = screen.add(ProgressBar::new(0).with_style(bar));
        Self {
            screen,
            overall,
            running: slots.iter().map(|_| None).collect(),
            slots,
            total: 0,
            done: 0,
            failed: 0,
            cached: 0,
            began: Instant::now(),
            verbose,
        }
    }

    fn run(mut self, events: &Receiver<Event>) {
        loop {
            match events.recv_timeout(REDRAW) {
                Ok(event) => {
                    self.take(event);
                    while let Ok(event) = events.try_recv() {
                        self.take(event);
                    }
                    self.draw();
                }
                Err(RecvTimeoutError::Timeout) => self.draw(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for bar in &self.slots {
            bar.finish_and_clear();
        }
        self.overall.finish_and_clear();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Planned { packages } => {
                self.total = packages;
                self.overall.set_length(packages as u64);
            }
            Event::Started { package, version } => {
                if let Some(slot) = self.running.iter_mut().find(|slot| slot.is_none()) {
                    *slot = Some(Running {
                        package,
                        version,
                        phase: "begins".to_owned(),
                        last: String::new(),
                        began: Instant::now(),
                    });
                }
            }
            Event::Phase { package, phase } => {
                if let Some(running) = self.find(&package) {
                    running.phase = phase_text(&phase);
                    running.last.clear();
                }
            }
            Event::Line { package, text } => {
                if self.verbose {
                    self.screen.suspend(|| line(&format!("{package}| {text}")));
                }
                if let Some(running) = self.find(&package) {
                    running.last = text;
                }
            }
            Event::Retry { package, cause, wait, failed, most } => {
                if let Some(running) = self.find(&package) {
                    running.phase = "tried again soon".to_owned();
                    running.last.clear();
                }
                let text = retry_text(&cause, wait, failed, most);
                self.screen.suspend(|| line(&format!(" {package}   {text}")));
            }
            Event::Finished { package, version, result, elapsed } => {
                self.done += 1;
                match result {
                    Finished::Cached { .. } => self.cached += 1,
                    Finished::Failed(_) => self.failed += 1,
                    Finished::Built { .. } | Finished::Skipped { .. } => {}
                }
                for slot in &mut self.running {
                    if slot.as_ref().is_some_and(|running| running.package == package) {
                        *slot = None;
                    }
                }
                if let Some(end) = end_text(&result, elapsed) {
                    self.screen.suspend(|| line(&format!(" {package} {version}   {end}")));
                }
            }
        }
    }

    fn find(&mut self, package: &PackageName) -> Option<&mut Running> {
        self.running.iter_mut().flatten().find(|running| running.package == *package)
    }

    fn draw(&self) {
        let title = |running: &Running| format!("{} {}", running.package, running.version);
        let width =
            self.running.iter().flatten().map(|one| title(one).chars().count()).max().unwrap_or(0);
        for (bar, running) in self.slots.iter().zip(&self.running) {
            bar.set_message(match running {
                None => String::new(),
                Some(running) => format!(
                    "  {:width$}  {:>7}  {:<14}  {}",
                    title(running),
                    duration(running.began.elapsed()),
                    running.phase,
                    running.last.trim_start()
                ),
            });
        }
        let running = self.running.iter().flatten().count();
        let mut text = format!("{}/{} · {running} running", self.done, self.total);
        if self.cached > 0 {
            text.push_str(&format!(" · {} cached", self.cached));
        }
        if self.failed > 0 {
            text.push_str(&format!(" · {} failed", self.failed));
        }
        text.push_str(&format!(" · {}", duration(self.began.elapsed())));
        self.overall.set_position(self.done as u64);
        self.overall.set_message(text);
    }
}

/// A JSON document for every step. How far a step is, is told once: files come in many pieces.
fn documents(events: &Receiver<Event>) {
    let mut phases: BTreeMap<PackageName, String> = BTreeMap::new();
    for event in events {
        let text = as_json(&event).to_string();
        if let Event::Phase { package, .. } = &event
            && phases.insert(package.clone(), text.clone()).is_some_and(|last| last == text)
        {
            continue;
        }
        line(&text);
    }
}

/// An event as one JSON document.
fn as_json(event: &Event) -> serde_json::Value {
    match event {
        Event::Planned { packages } => json!({"event": "planned", "packages": packages}),
        Event::Started { package, version } => {
            json!({"event": "started", "package": package.as_str(), "version": version})
        }
        Event::Phase { package, phase } => {
            let (done, total) = match phase {
                Phase::Fetch { done, total } | Phase::Root { done, total, .. } => {
                    (Some(done), Some(total))
                }
                _ => (None, None),
            };
            json!({
                "event": "phase", "package": package.as_str(), "phase": phase_kind(phase),
                "done": done, "total": total,
            })
        }
        Event::Line { package, text } => {
            json!({"event": "line", "package": package.as_str(), "text": text})
        }
        Event::Retry { package, cause, wait, failed, most } => json!({
            "event": "retry", "package": package.as_str(), "cause": cause,
            "milliseconds": wait.as_millis() as u64, "failed": failed, "most": most,
        }),
        Event::Finished { package, version, result, elapsed } => {
            let (status, cause) = match result {
                Finished::Built { .. } => ("built", None),
                Finished::Cached { .. } => ("cached", None),
                Finished::Failed(failure) if failure.fault == Fault::Cancelled => {
                    ("cancelled", None)
                }
                Finished::Failed(failure) => ("failed", Some(failure.line())),
                Finished::Skipped { because } => {
                    ("skipped", because.as_ref().map(|root| format!("needs {root}")))
                }
            };
            json!({
                "event": "finished", "package": package.as_str(), "version": version,
                "status": status, "cause": cause, "milliseconds": elapsed.as_millis() as u64,
            })
        }
    }
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
}
